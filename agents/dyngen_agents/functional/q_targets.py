"""Q-learning over tokens: targets and losses.

Tensors of shape (N, L) are as in `returns`: an episode a row, a token a position, zero where the agent chose nothing.
Time counts the agent's choices: what a user says between two of them is the environment's part of one step.
"""

import torch
from torch import Tensor


def next_values(values: Tensor, bootstrap: Tensor, completion_mask: Tensor) -> Tensor:
    """V(sₜ₊₁) at each choice: the value before the next choice of the episode, whatever stands between the two.

    values, completion_mask: (N, L). bootstrap: (N,), what follows the last choice: 0 where the episode has ended.
    Returns (N, L).
    """
    out = torch.zeros_like(values)
    following = bootstrap
    for p in reversed(range(values.shape[1])):
        chosen = completion_mask[:, p]
        out[:, p] = torch.where(chosen, following, 0.0)
        following = torch.where(chosen, values[:, p], following)
    return out


def expectile_loss(values: Tensor, targets: Tensor, tau: float) -> Tensor:
    """|τ − 1(u < 0)| u², u = target − V. Kostrikov et al. 2022 (IQL), eq. 5; Snell et al. 2023 (ILQL), sec. 4.

    Its minimum over targets is their τ-expectile: their mean for τ = ½, close to their largest for τ near 1. Over the
    choices of a behaviour policy that is close to the maximum over actions that were really seen. Any one shape.
    """
    u = targets - values
    return torch.where(u < 0, 1 - tau, tau) * u**2


def double_q_values(online: Tensor, target: Tensor) -> Tensor:
    """Q̄(s, argmax_a Q(s, a)): the action is chosen by one function and valued by another.

    Double Q-learning, van Hasselt et al. 2016, eq. 4: one function alone would choose what it overestimates. online,
    target: (M, V), -inf in `online` where a token cannot be written. Returns (M,).
    """
    return target.gather(-1, online.argmax(-1, keepdim=True)).squeeze(-1)


def conservative_loss(q: Tensor, taken: Tensor) -> Tensor:
    """log Σ_a exp Q(s, a) − Q(s, aₜ): Q of what was chosen goes up, that of all else down. In nats.

    CQL(H), Kumar et al. 2020, eq. 4, with the recorded choice for the expectation; the cross-entropy of a softmax of Q.
    q: (M, V), -inf where a token cannot be written. taken: (M,) int64. Returns (M,).
    """
    return q.logsumexp(-1) - q.gather(-1, taken.unsqueeze(-1)).squeeze(-1)
