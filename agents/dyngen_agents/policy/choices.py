"""What a language model knows before each token that was chosen, and after the last message."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dyngen_agents.policy.causal_lm import CausalLMPolicy


class Choices(NamedTuple):
    """M choices in N rows. `states` are the distribution's (`TokenDistribution.states`), None if it has none."""

    at: tuple[Tensor, Tensor]  # rows (M,) and columns (M,), an index of (N, T)
    hidden: Tensor  # (M, D) before each choice
    states: Tensor | None  # (M,)


def choices(policy: CausalLMPolicy, tokens: Tensor, completion_mask: Tensor) -> Choices:
    """The choices in tokens (N, T), right-padded with -1, at which `completion_mask` (N, T) is True."""
    rows, columns = completion_mask.nonzero(as_tuple=True)
    hidden, states = policy.trunk(tokens[:, :-1]), policy.distribution.states(tokens)
    before = None if states is None else states[rows, columns - 1]
    return Choices((rows, columns), hidden[rows, columns - 1], before)


@torch.no_grad()
def after_last_message(policy: CausalLMPolicy, tokens: Tensor, completion_mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Hidden states (N, D), and the distribution's states (N,), after what follows the last choice of each row, read
    alone: as a piece that begins there is read."""
    place = torch.arange(tokens.shape[1], device=tokens.device)
    begin = (place * completion_mask).amax(1) + 1  # (N,)
    length = ((tokens >= 0).sum(1) - begin).clamp(min=1)
    at = begin.unsqueeze(1) + place[: int(length.max())]
    tail = tokens.gather(1, at.clamp(max=tokens.shape[1] - 1)).masked_fill(at >= tokens.shape[1], -1)
    end = torch.arange(len(tokens), device=tokens.device), length - 1
    states = policy.distribution.states(tail)
    return policy.trunk(tail)[end], None if states is None else states[end]
