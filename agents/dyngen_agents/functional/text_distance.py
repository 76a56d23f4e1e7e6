"""How far two samples of texts lie apart, by the kernel distance of their features."""

import torch
from torch import Tensor


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """The squared maximum mean discrepancy of two samples with the kernel k(a, b) = (a·b/D + 1)³, without bias.

    Bińkowski et al. 2018 ("Demystifying MMD GANs", sec. 4), for pictures: 0 in expectation where both are drawn from
    one distribution, whatever the sizes of the samples. It grows if texts of one kind are missing as well as if some
    are of a kind that the other sample does not have.

        1/(m(m-1)) Σ_{i≠j} k(x_i, x_j) + 1/(n(n-1)) Σ_{i≠j} k(y_i, y_j) - 2/(mn) Σ_{ij} k(x_i, y_j)

    Args:
        x: (M, D), y: (N, D), the features, which should be of deviation 1. M and N are at least 2.
    """
    x, y = x.double(), y.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    within = [(k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1)) for k in (kernel(x, x), kernel(y, y))]
    return float(torch.stack(within).sum() - 2 * kernel(x, y).mean())
