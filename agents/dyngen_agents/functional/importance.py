"""Learning from what another policy has chosen: importance weights of single choices.

Tensors of shape (N, L), aligned as in `returns`.
"""

import torch
from torch import Tensor


def truncated_importance(logprobs: Tensor, behaviour_logprobs: Tensor, cap: float) -> Tensor:
    """How much likelier a choice is under π than under the policy μ that made it, up to a cap:

        ρₜ = min(ρ̄, π(aₜ|sₜ)/μ(aₜ|sₜ))

    IMPALA, Espeholt et al. 2018, sec. 4.1. With ρ̄ = 1 no choice counts for more than one. That choices before it were
    made by μ, too, is not accounted for, which would be unbiased and have a variance that grows with every token.
    """
    # Clamped before the exponential, which would be infinite.
    return (logprobs - behaviour_logprobs).clamp(max=torch.tensor(cap).log().item()).exp()


def effective_share(weights: Tensor, mask: Tensor) -> Tensor:
    """(Σw)²/(n Σw²) over the n entries that count: as good are so many of them, equally weighted. A scalar.

    Kish 1965, "Survey sampling", sec. 11.7. 1 where all weights are equal, 1/n where one outweighs all others.
    """
    counted = weights[mask]
    return counted.sum() ** 2 / (len(counted) * (counted**2).sum()).clamp(min=1e-30)
