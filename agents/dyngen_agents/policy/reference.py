"""A frozen language model that the policy is held to."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.lora import base_of
from dyngen_env.lm.logprobs import completion_logprobs


class Reference:
    """A frozen model under the policy's distribution: what the policy is held to.

    Args:
        lm: the frozen model; of one with adapters, which may be the policy's own, the base.
        policy: gives the legal tokens, the banned words and the sampling.
    """

    def __init__(self, lm: PreTrainedModel, policy: CausalLMPolicy):
        self.lm, self.legal, self.sampling, self.banned = lm, policy.legal, policy.sampling, policy.banned

    def logprobs(self, tokens: Tensor, completion_mask: Tensor) -> Tensor:
        """(N, T) log-probs of the chosen tokens; zero elsewhere."""
        s = self.sampling
        warp: dict[str, Any] = dict(legal=self.legal, temperature=s.temperature, top_k=s.top_k, top_p=s.top_p)
        with base_of(self.lm) as lm:
            return completion_logprobs(lm, tokens, completion_mask, banned=self.banned, **warp)
