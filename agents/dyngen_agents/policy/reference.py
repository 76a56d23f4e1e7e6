"""A frozen language model that the policy is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from dyngen_agents.policy.lora import base_of
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.logprobs import completion_logprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Reference:
    """A frozen model under the policy's distribution: what the policy is held to.

    Args:
        lm: the frozen model; of one with adapters, which may be the policy's own, the base.
        distribution: the policy's, so that both choose among the same tokens in the same way.
    """

    def __init__(self, lm: PreTrainedModel, distribution: TokenDistribution):
        self.lm, self.distribution = lm, distribution.to(lm.device)

    def logprobs(self, tokens: Tensor, completion_mask: Tensor) -> Tensor:
        """(N, T) log-probs of the chosen tokens; zero elsewhere."""
        with base_of(self.lm) as lm:
            return completion_logprobs(lm, tokens, completion_mask, self.distribution)
