"""Proximal policy optimization of a policy with an explicit memory of what each user has said, and how they rated."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Play, Quantity
from dyngen_agents.algorithms.minibatch_pass import Piece
from dyngen_agents.algorithms.policy_gradient import PolicyGradient, RunShape
from dyngen_agents.algorithms.settings import COUNT, NOT_NEGATIVE, Range, check_settings
from dyngen_agents.data.batching import explained_variance, map_in_batches
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.functional.losses import approx_kl, clip_fraction, clipped_surrogate, clipped_value_loss
from dyngen_agents.functional.returns import gae, masked_mean, masked_whiten, turn_rewards
from dyngen_agents.policy.causal_lm import CausalLMPolicy, Evaluation
from dyngen_agents.policy.feedback_memory import LABELS, MemoryActor
from dyngen_agents.policy.reference import Reference

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeedbackConditionedConfig:
    """Train a model that remembers: what each user said, and how they rated, is a memory that it attends to.

    The defaults of what PPO has, too, are PPO's.
    """

    note_tokens: int = 24
    """Of how many tokens the memory of one answer has room; longer answers are cut off."""
    kept_notes: int = 4
    """How many answers are remembered of a user who comes back in the row's next episode."""
    supervised_updates: int = 0
    """The first so many updates imitate what users liked in the policy's own dialogues, before PPO takes over."""
    liked: float = 0.5
    """What a turn must have been paid at least to be imitated. The reward "rating" pays 0.5 for a rating of 2 of 4."""
    learning_rate: float = 5e-4
    """After warm-up; annealed to zero."""
    warmup_steps: int = 10
    """Gradient steps over which the learning rate rises."""
    epochs: int = 2
    """Passes over each batch of episodes."""
    minibatch_size: int = 64
    """Episodes of one gradient step."""
    max_tokens: int | None = None
    """Padded tokens of one forward pass, the memory's not counted. By default 1024 on a CPU, and on a GPU what its
    memory holds."""
    gamma: float = 1.0
    """Discount per token that the agent chooses."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation."""
    clip_coef: float = 0.2
    """ε of the clipped surrogate."""
    value_clip: float = 0.2
    """How far the value may move from the rollout's, in units of return."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    kl_coef: float = 0.05
    """β of the penalty -β(log π - log π_ref) per token. The reference reads the same memory, untrained."""
    kl_target: float | None = None
    """Nats per episode that an adaptive β steers to; None keeps β fixed."""
    kl_horizon: float = 10_000
    """Episodes over which the adaptive β adapts."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        check_settings(
            self, note_tokens=COUNT, kept_notes=NOT_NEGATIVE, supervised_updates=NOT_NEGATIVE, liked=Range(-math.inf)
        )


class FeedbackConditioned:
    """PPO (Schulman et al. 2017) with `policy.feedback_memory`. The arguments are those of every `Algorithm`."""

    Config: ClassVar[type] = FeedbackConditionedConfig

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        config: FeedbackConditionedConfig | None = None,
        **run: Unpack[RunShape],
    ):
        self.policy, self.config = policy, config or FeedbackConditionedConfig()
        c, self.warned = self.config, False
        self.labels = policy.read_labels(LABELS)
        self.common = PolicyGradient(
            policy, reference, c, policy.parameters(), epochs=c.epochs, minibatch_size=c.minibatch_size, **run
        )

    @property
    def acting(self) -> CausalLMPolicy:
        """The policy with the vectors of the ratings, which are no part of the language model."""
        return self.policy

    def actor(self, seed: int) -> MemoryActor:
        """The policy at work, with an empty memory."""
        return self.actor_of(self.policy, self.config, seed, processes=self.common.processes)

    @staticmethod
    def actor_of(
        policy: CausalLMPolicy, config: FeedbackConditionedConfig, seed: int, processes: Processes = SINGLE_PROCESS
    ) -> MemoryActor:
        """Any policy at work with an empty memory, such as the untrained one that a run is compared with."""
        return MemoryActor(
            policy, seed, note_tokens=config.note_tokens, kept_notes=config.kept_notes, processes=processes
        )

    def experience(self, play: Play) -> Trajectories:
        """Episodes of the policy as it is. What follows a truncation counts as nothing, as in PPO."""
        batch = play(self.actor)
        if not self.warned and all(talk is None for talk in batch.dialogues):
            self.warned = True
            log.warning(
                "nobody answers in this env, so there is nothing to remember: train in dyngen/Dialogue-v0, or give "
                'user="simulated" and max_turns'
            )
        return batch

    def update(self, batch: Trajectories) -> dict[str, float]:
        """Imitate liked turns in the first `supervised_updates`, later PPO's eq. 9 with the KL in the reward.

        Returns:
            metrics as PPO's, and "memory_gain": log π(token | memory) − log π(token | none), the mean in nats over the
            tokens that had a memory to look at.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        c, mask = self.config, batch.completion_mask
        gain = self._memory_gain(batch)
        rewards, ref_logprobs = self.common.penalised_rewards(batch)
        advantages, returns = gae(rewards, batch.values, batch.bootstrap, mask, c.gamma, c.gae_lambda)
        advantages = masked_whiten(advantages, mask)
        supervised = self.common.updates < c.supervised_updates
        liked = (turn_rewards(batch.rewards, mask) >= c.liked).float()

        def token_terms(new: Evaluation, piece: Piece) -> dict[str, Tensor]:
            old = piece.of(batch.logprobs)
            if supervised:
                policy_loss = -new.logprobs * piece.of(liked)
            else:
                policy_loss = clipped_surrogate(new.logprobs, old, piece.of(advantages), c.clip_coef)
            return {
                "policy_loss": policy_loss,
                "value_loss": clipped_value_loss(new.values, piece.of(batch.values), piece.of(returns), c.value_clip),
                "entropy": new.entropies,
                "approx_kl": approx_kl(new.logprobs, old),
                "clip_fraction": clip_fraction(new.logprobs, old, c.clip_coef),
            }

        metrics = self.common.gradient_steps(batch, token_terms, {"policy_loss": 1.0, "value_loss": c.vf_coef})
        metrics["memory_gain"] = gain
        metrics["value_mean"] = float(masked_mean(batch.values, mask))
        metrics["explained_variance"] = explained_variance(batch.values, returns, mask)
        return metrics | self.common.end_update(batch, ref_logprobs)

    def _memory_gain(self, batch: Trajectories) -> float:
        """Of the first episodes, as many as a minibatch has: log π(token | memory) − log π(token | none), in nats."""
        some = batch.take(torch.arange(min(len(batch), self.config.minibatch_size)))
        gains = self._gains(some)
        seen = some.completion_mask & (gains != 0)
        return float(gains[seen].mean()) if bool(seen.any()) else 0.0

    def _gains(self, batch: Trajectories) -> Tensor:
        """(N, L): how much likelier the memory made each token, log π(token | memory) − log π(token | none), in nats.

        Zero before a row has a memory: there the policy is the plain model, but for rounding.
        """

        def plain(tokens: Tensor, completion_mask: Tensor, *_: object) -> Tensor:
            return self.policy.evaluate(tokens, completion_mask).logprobs

        notes = batch.notes_of(torch.arange(len(batch)))
        if notes is None:
            return torch.zeros_like(batch.logprobs)
        without = map_in_batches(plain, batch, self.common.max_tokens, self.common.processes)
        first = notes.seen_from().flatten(1).amin(1, keepdim=True)  # (N, 1), the first token that sees a note
        at = torch.arange(batch.tokens.shape[1], device=first.device)
        return torch.where(batch.completion_mask & (at > first), batch.logprobs - without, 0.0)

    def state(self) -> AlgorithmState:
        """That of every policy-gradient algorithm, the value head, and the vectors of the ratings."""
        common = self.common.state()
        tensors = {f"value_head.{name}": tensor for name, tensor in self.policy.value_head.state_dict().items()}
        return AlgorithmState(common.tensors | tensors | {"labels": self.labels.weight}, common.values)

    @torch.no_grad()
    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`."""
        self.common.load_state(state, for_training=for_training)
        self.policy.value_head.load_state_dict(state.under("value_head."))
        self.labels.weight.copy_(state.tensors["labels"])

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """The rewards that it learns from, advantages before whitening, values, and what the memory changes."""
        c = self.config
        rewards, _ = self.common.penalised_rewards(batch)
        advantages, _ = gae(rewards, batch.values, batch.bootstrap, batch.completion_mask, c.gamma, c.gae_lambda)
        better = f"Better or worse than expected: GAE of the rewards with KL penalty, γ {c.gamma:g}, λ {c.gae_lambda:g}"
        expected = "What the value head expected of the rest, before this token"
        gain = "log π(token | memory) − log π(token | no memory): above zero, what the user said made it likelier"
        return Diagnostics(
            (
                self.common.learned_reward(rewards),
                Quantity("advantage", "advantage", better, advantages),
                Quantity("value", "value", expected, batch.values),
                Quantity("memory", "memory", gain, self._gains(batch), "nats"),
            )
        )
