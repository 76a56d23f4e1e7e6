"""The frozen reference model of the KL penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dyngen_agents.policy.lora import base_of
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.engine.heads import hidden_states, lm_head
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.lm.logprobs import completion_logprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Reference:
    """A frozen language model with the policy's token distribution: a KL penalty keeps the policy near it.

    Args:
        lm: the frozen model. If it has low-rank adapters, they are switched off, so the policy's own model can serve as
            its reference.
        distribution: that of the policy, so that both choose among the same tokens at the same temperature.
    """

    def __init__(self, lm: PreTrainedModel, distribution: TokenDistribution):
        self.lm, self.distribution = lm, distribution.to(lm.device)

    def logprobs(self, tokens: Tensor, completion_mask: Tensor, notes: Notes | None = None) -> Tensor:
        """Log-probs (N, T) of the tokens (N, T) where `completion_mask` (N, T) is True, in nats; zero elsewhere.

        Args:
            notes: (N, C, W) what the model attends to, too. It reads them untrained, and without their labels.
        """
        with base_of(self.lm) as lm:
            return completion_logprobs(lm, tokens, completion_mask, self.distribution, notes)

    @torch.no_grad()
    def hidden(self, tokens: Tensor, notes: Notes | None = None) -> Tensor:
        """Last hidden states (N, T - 1, D) of tokens (N, T), right-padded with -1; nothing is asked after the last."""
        with base_of(self.lm) as lm:
            return hidden_states(lm, tokens[:, :-1], notes)

    @torch.no_grad()
    def logits(self, hidden: Tensor, states: Tensor | None) -> Tensor:
        """Its logits (..., V) from hidden states (..., D) of its own, as `CausalLMPolicy.logits`."""
        with base_of(self.lm) as lm:
            return self.distribution.warp(lm_head(lm, hidden), states)
