"""Losses over pairs of completions of one prompt, of which one is preferred: direct preference optimization (DPO)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

PreferenceLoss = Literal["sigmoid", "soft", "squared"]


def best_and_worst(returns: Tensor, groups: Tensor, most: int = 1) -> Tensor:
    """The best and the worst episode of each group, as pairs of rows (P, 2) int64, in the order of the groups' numbers.

    Args:
        returns: (N,) of the episodes. groups: (N,) int64, equal for episodes of one prompt, in any order.
        most: pairs of a group, at most: the second best with the second worst, and so on.

    Returns:
        no pair of equal returns, so none of a group whose returns are all equal, or that has one episode.
    """
    pairs = []
    for group in groups.unique().tolist():
        rows = (groups == group).nonzero().squeeze(1)
        rows = rows[returns[rows].argsort(descending=True, stable=True)]
        for k in range(min(most, len(rows) // 2)):
            best, worst = rows[k], rows[len(rows) - 1 - k]
            if returns[best] > returns[worst]:
                pairs.append(torch.stack([best, worst]))
    return torch.stack(pairs) if pairs else groups.new_empty((0, 2))


def preference_loss(margins: Tensor, differences: Tensor, kind: PreferenceLoss) -> Tensor:
    """How far the policy is from preferring what is better, for each pair, (P,).

    The margin of a pair is what the policy prefers the better completion y by, in units of reward:

        m = β [log π(y|x)/π_ref(y|x) − log π(y′|x)/π_ref(y′|x)]

    which in the policy of the highest E[R] − β KL(π‖π_ref) is R(y) − R(y′) (Rafailov et al. 2023, eq. 5).

    - "sigmoid" is −log σ(m), their eq. 7: all that is known is which is better. Without an end: the margin grows.
    - "soft" is −p log σ(m) − (1 − p) log σ(−m), p = σ(R(y) − R(y′)): the expected loss if somebody chose between them
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
