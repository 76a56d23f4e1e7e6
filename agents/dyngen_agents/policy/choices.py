"""What a language model knows before each token that was chosen, and after the last one, by one forward pass."""

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
    last_hidden: Tensor  # (N, D) after the last token of each row, without gradients
    last_states: Tensor | None  # (N,)


def choices(policy: CausalLMPolicy, tokens: Tensor, completion_mask: Tensor) -> Choices:
    """The choices in tokens (N, T), right-padded with -1, at which `completion_mask` (N, T) is True."""
    rows, columns = completion_mask.nonzero(as_tuple=True)
    hidden, states = policy.trunk(tokens), policy.distribution.states(tokens)
    end = torch.arange(len(tokens), device=tokens.device), (tokens >= 0).sum(1) - 1
    before, last = (None, None) if states is None else (states[rows, columns - 1], states[end])
    return Choices((rows, columns), hidden[rows, columns - 1], before, hidden[end].detach(), last)
