"""Losses over pairs of completions of one prompt, of which one is preferred: direct preference optimization (DPO)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

PreferenceLoss = Literal["sigmoid", "soft", "squared"]


def best_and_worst(returns: Tensor, groups: Tensor) -> Tensor:
    """The best and the worst episode of each group, as pairs of rows (P, 2) int64, in the order of the groups' numbers.

    Args:
        returns: (N,) of the episodes. groups: (N,) int64, equal for episodes of one prompt, in any order.

    Returns:
        no pair for a group whose returns are all equal, or that has one episode. Of equal returns the first row counts.
    """
    pairs = []
    for group in groups.unique().tolist():
        rows = (groups == group).nonzero().squeeze(1)
        of_group = returns[rows]
        best, worst = int(of_group.argmax()), int(of_group.argmin())
        if of_group[best] > of_group[worst]:
            pairs.append(torch.stack([rows[best], rows[worst]]))
    return torch.stack(pairs) if pairs else groups.new_empty((0, 2))


def preference_loss(margins: Tensor, differences: Tensor, kind: PreferenceLoss) -> Tensor:
    """How far the policy is from preferring what is better, for each pair, (P,).

    The margin of a pair is what the policy prefers the better completion y by, in units of reward:

        m = β [log π(y|x)/π_ref(y|x) − log π(y′|x)/π_ref(y′|x)]

    which in the policy of the highest E[R] − β KL(π‖π_ref) is R(y) − R(y′) (Rafailov et al. 2023, eq. 5).

    - "sigmoid" is −log σ(m), their eq. 7: all that is known is which is better. Without an end: the margin grows.
    - "soft" is −p log σ(m) − (1 − p) log σ(−m), p = σ(R(y) − R(y′)): the expected loss if somebody chose between the two
      as Bradley and Terry (1952) have it.
    - "squared" is ½ (m − (R(y) − R(y′)))², regression on the difference (Fisch et al. 2024; Gao et al. 2024, "REBEL").

    The last two are least where the margin is the difference.

    Args:
        margins: (P,). differences: (P,) R(y) − R(y′).
    """
    if kind == "sigmoid":
        return -logsigmoid(margins)
    if kind == "soft":
        p = differences.sigmoid()
        return -p * logsigmoid(margins) - (1 - p) * logsigmoid(-margins)
    return 0.5 * (margins - differences) ** 2
