"""A run's two models in its environment: the policy, and the frozen reference that it is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.distribution import SamplingConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def policy_and_reference(
    env: TextGenVectorEnv, lm: PreTrainedModel, untrained: PreTrainedModel, sampling: SamplingConfig
) -> tuple[CausalLMPolicy, Reference]:
    """The policy of `lm` and the reference of `untrained`, which is `lm` itself where that has adapters.

    Both draw tokens from the same distribution: what the env allows, by `sampling`.
    """
    distribution = env.token_distribution(sampling)
    return CausalLMPolicy(lm, distribution), Reference(untrained, distribution)
