"""A run's two models in its environment: the policy, and the frozen reference that it is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.lm.loading.fingerprint import check_unchanged
from dyngen_env.lm.modalities.attached import check_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def policy_and_reference(
    env: TextGenVectorEnv, lm: PreTrainedModel, untrained: PreTrainedModel, sampling: SamplingConfig
) -> tuple[CausalLMPolicy, Reference]:
    """The policy of `lm` and the reference of `untrained`, which is `lm` itself where that has adapters.

    Both draw tokens from the same distribution: what the env allows, by `sampling`.

    Raises:
        ValueError: the env shows media that the models cannot read.
    """
    for model in (lm, untrained):
        check_encoder(model, env.media.room, env.media.places)
    distribution = env.token_distribution(sampling)
    return CausalLMPolicy(lm, distribution), Reference(untrained, distribution)


def check_base(record: dict[str, Any]) -> None:
    """Raises ValueError, naming the model that a run began with, if its files have changed since.

    The run's adapters, its reference and its env's tokenizer stand on that model, of which its folder holds only the
    name and a fingerprint. Runs that were made before fingerprints were recorded are not checked.

    Args:
        record: the content of the run's `run.json`.
    """
    if "model_fingerprint" in record:
        check_unchanged(record["model"], record["model_fingerprint"], "this run began")
