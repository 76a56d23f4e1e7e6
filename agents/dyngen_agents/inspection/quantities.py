"""The numbers of each token on the page that do not depend on the algorithm, and what is said of the reward's scale."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from dyngen_agents.algorithms.algorithm import Diagnostics, Quantity
from dyngen_agents.data.batching import entropies_of, map_in_batches
from dyngen_agents.data.reward_scale import RewardScale
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.functional.losses import kl_k1
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference

MAX_TOKENS = 4096  # padded tokens of a forward pass: bounds memory, changes no result


def quantities_of(
    batch: Trajectories, policy: CausalLMPolicy, reference: Reference, diagnostics: Diagnostics
) -> tuple[list[Quantity], Tensor]:
    """The quantities that the page offers, in its order, and the reference's log-probs (N, L) behind them."""
    ref_logprobs = map_in_batches(reference.logprobs, batch, MAX_TOKENS)
    entropies = entropies_of(policy, batch, MAX_TOKENS)
    paid = "What the environment paid for this token; they add up to the return"
    moved = "log π − log π_ref of this token: above zero, training made it likelier"
    surprise = "log π of this token: far below zero is a surprise"
    openness = "How open the choice was: entropy of π at this token"
    return [
        Quantity("reward", "reward", paid, batch.rewards),
        *diagnostics.quantities,
        Quantity("kl", "KL", moved, kl_k1(batch.logprobs, ref_logprobs), "nats"),
        Quantity("entropy", "entropy", openness, entropies, "nats", signed=False),
        Quantity("logprob", "log-prob", surprise, batch.logprobs, "nats", signed=False),
    ], ref_logprobs


def notes_on_scale(scale: RewardScale, missing_eos_penalty: float) -> Iterator[str]:
    """Sentences for the page on how the reward that is learned from differs from the environment's."""
    if scale != RewardScale():
        yield f"The learner's reward is the environment's times {scale.gain:.3g}, {scale.bias:+.3g} at the end."
    if missing_eos_penalty:
        yield f"It is {missing_eos_penalty:g} less for the learner where the agent did not end its last turn itself."
