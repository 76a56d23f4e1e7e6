"""A policy that acts by what its Q heads expect: π(a|s) ∝ π_b(a|s) exp(β Q(s, a))."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dyngen_agents.policy.causal_lm import Action, CausalLMPolicy
from dyngen_agents.policy.q_heads import QHeads
from dyngen_env.lm.draw import draw
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.heads import lm_head
from dyngen_env.lm.engine.notes import Notes

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class QPolicy(CausalLMPolicy):
    """The language model π_b, tilted by its Q heads, in the one distribution of the env: bans and legal tokens hold.

    Snell et al. 2023 (ILQL), eq. 6: log π(a|s) = log π_b(a|s) + β (Q(s, a) − V(s)) + const. V is the same for every
    token, so it drops out. Q is the smaller of the two target heads'. A temperature divides all of it.

    Args:
        policy: π_b and its distribution; the language model is shared, not copied.
        heads: Q and V. beta: β, per unit of reward; 0 is π_b.
    """

    def __init__(self, policy: CausalLMPolicy, heads: QHeads, beta: float):
        super().__init__(policy.lm, policy.distribution)
        self.heads, self.beta = heads, beta
        self.engine = TiltedEngine(policy.lm, self.tilted)

    def tilted(self, hidden: Tensor) -> Tensor:
        """log π_b + β Q, (..., V) not normalised, from hidden states (..., D): what the distribution then warps."""
        q = self.heads.target_all(hidden)
        return lm_head(self.lm, hidden)[..., : q.shape[-1]].float() + self.beta * q

    def logits(self, hidden: Tensor, states: Tensor | None) -> Tensor:
        return self.distribution.warp(self.tilted(hidden), states)

    def value(self, hidden: Tensor) -> Tensor:
        return self.heads.value(hidden)

    @torch.no_grad()
    def choose(self, hidden: Tensor, tokens: Tensor, lengths: Tensor, uniform: Tensor | None) -> Action:
        states = self.distribution.state(tokens, lengths)
        chosen, logprobs = draw(self.distribution, self.tilted(hidden), states, uniform)
        return Action(chosen, logprobs, self.value(hidden))


class TiltedEngine(Engine):
    """An engine whose next logits are made of the hidden states (B, D) in another way than by the model's own head."""

    def __init__(self, model: PreTrainedModel, logits_of: Callable[[Tensor], Tensor]):
        super().__init__(model)
        self.logits_of = logits_of

    @torch.no_grad()
    def next_logits(self, tokens: Tensor, lengths: Tensor, notes: Notes | None = None) -> Tensor:
        return self.logits_of(self.next_hidden(tokens, lengths, notes))
