"""What Q heads say of every token at many states, a chunk of the (M, V) numbers at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dyngen_agents.functional.q_targets import conservative_loss, double_q_values
from dyngen_agents.policy.q_heads import QHeads
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.logit_chunks import logit_chunks


def conservative_losses(
    heads: QHeads, hidden: Tensor, taken: Tensor, states: Tensor | None, distribution: TokenDistribution
) -> Tensor:
    """`conservative_loss` of both heads together (M,), with Q in units of σ.

    If there are many of the (M, V) numbers, the backward pass computes them again.

    Args:
        hidden: (M, D). taken: (M,) int64. states: (M,) of `distribution`, which says what may be written.
    """

    def chunk(h: Tensor, chosen: Tensor, here: Tensor | None) -> Tensor:
        q = (q / heads.std for q in heads.q_all(h))
        return sum(
            (conservative_loss(distribution.warp(each, here), chosen) for each in q), torch.zeros((), device=h.device)
        )

    return _in_chunks(chunk, hidden, taken, states, heads)


@torch.no_grad()
def best_values(heads: QHeads, hidden: Tensor, states: Tensor | None, distribution: TokenDistribution) -> Tensor:
    """The value (M,) of the best token in each of M states (M, D), by double Q-learning: the mean of Q₁ and Q₂ chooses
    it, and the smaller of their target copies values it."""

    def chunk(h: Tensor, _: Tensor, here: Tensor | None) -> Tensor:
        first, second = heads.q_all(h)
        return double_q_values(distribution.warp((first + second) / 2, here), heads.target_all(h))

    return _in_chunks(chunk, hidden, torch.zeros_like(hidden[:, 0]), states, heads)


def _in_chunks(
    function: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    hidden: Tensor,
    taken: Tensor,
    states: Tensor | None,
    heads: QHeads,
) -> Tensor:
    chunks = logit_chunks(hidden.device)
    again = torch.is_grad_enabled() and len(hidden) * heads.vocabulary > chunks.kept
    parts = []
    for part in torch.arange(len(hidden), device=hidden.device).split(max(1, chunks.computed // heads.vocabulary)):
        arguments = hidden[part], taken[part], None if states is None else states[part]
        parts.append(checkpoint(function, *arguments, use_reentrant=False) if again else function(*arguments))
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)
