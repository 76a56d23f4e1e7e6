"""VinePPO: proximal policy optimization whose values are Monte-Carlo estimates by forks of the env, not a critic's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Play, Quantity
from dyngen_agents.algorithms.minibatch_pass import Piece
from dyngen_agents.algorithms.policy_gradient import PolicyGradient, RunShape
from dyngen_agents.algorithms.settings import COUNT, check_settings
from dyngen_agents.data.batching import explained_variance
from dyngen_agents.data.branching_actor import BranchingActor, BranchPoints
from dyngen_agents.data.rollout import Act
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.functional.kl_control import kl_penalised_rewards
from dyngen_agents.functional.losses import approx_kl, clip_fraction, clipped_surrogate
from dyngen_agents.functional.returns import masked_mean, masked_whiten, returns_to_go, segment_advantages
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy, Evaluation
from dyngen_agents.policy.reference import Reference


@dataclass(frozen=True)
class VineConfig:
    """Train by VinePPO: PPO without a critic, whose values are means over episodes played on from forks of the env.

    Defaults are those of `ppo` unless said otherwise.
    """

    learning_rate: float = 5e-4
    """After warm-up; annealed to zero. For reviews-lm with 2.7 M parameters; a model of 135 M wants about 3e-5."""
    warmup_steps: int = 10
    """Gradient steps over which the learning rate rises."""
    epochs: int = 2
    """Passes over each batch of episodes."""
    minibatch_size: int = 64
    """Episodes of one gradient step."""
    max_tokens: int | None = None
    """Padded tokens of one forward pass; a minibatch above it is accumulated. Bounds memory, changes no result. By
    default 1024 on a CPU, and on a GPU what its memory holds."""
    forks: int = 4
    """Episodes that are played on from each valued state. Kazemnejad et al. 2024 have 9. Time grows with it: the forks
    of an episode are given more tokens than it is itself."""
    fork_at: Literal["tokens", "words", "turns"] = "tokens"
    """Which states are valued beside the first of each turn: every n-th of its tokens, or after every n-th of its
    words; with "turns" no other."""
    fork_every: int = 8
    """n. The choices between two valued states share one advantage."""
    clip_coef: float = 0.2
    """ε of the clipped surrogate."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    kl_coef: float = 0.05
    """β of the penalty -β(log π - log π_ref) per token, in the reward, in that of the forks, too."""
    kl_target: float | None = None
    """Nats per episode that an adaptive β steers to (Ziegler et al. 2019: 6); None keeps β fixed."""
    kl_horizon: float = 10_000
    """Episodes over which the adaptive β adapts."""
    whiten_advantages: bool = True
    """Zero mean and unit variance over the tokens of the batch."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        check_settings(self, forks=COUNT, fork_every=COUNT)


class Vine:
    """Kazemnejad et al. 2024 ("VinePPO: Refining Credit Assignment in RL Training of LLMs"), sec. 4, for any env.

    It is for rewards that come late and have no cheap potential. The env's forks are real: rewards are computed and
    users asked in them, so a reward that costs money or time costs it `forks` times for every valued state. The
    arguments are those of every `Algorithm`.
    """

    Config: ClassVar[type] = VineConfig

    def __init__(
        self, policy: CausalLMPolicy, reference: Reference, config: VineConfig | None = None, **run: Unpack[RunShape]
    ):
        self.config = c = config or VineConfig()
        # The value head takes no part: the forks say what a state is worth.
        self.common = PolicyGradient(
            policy, reference, c, policy.lm.parameters(), epochs=c.epochs, minibatch_size=c.minibatch_size, **run
        )
        self.fork_tokens = 0  # chosen in the forks of the last experience, by this process

    def actor(self, seed: int) -> Actor:
        """The policy at work: what it is in rollouts, but for the values."""
        return self.common.actor(seed)

    def experience(self, play: Play) -> Trajectories:
        """Episodes of the policy as it is; their values are NaN where none was estimated.

        What follows a truncation counts as nothing. Raises ValueError if people would be asked about forks.
        """
        c, branching = self.config, list[BranchingActor]()

        def returns(branches: Trajectories) -> Tensor:
            mask, rewards = branches.completion_mask, play.learned_rewards(branches)
            # Processes value the states of their own rows: they share no work here.
            ref_logprobs = self.common.reference_logprobs(branches, shared=False)
            coef = self.common.kl_control.coef
            return kl_penalised_rewards(rewards, branches.logprobs, ref_logprobs, mask, coef).sum(1)

        def actor(seed: int) -> Act:
            points = BranchPoints(c.fork_at, c.fork_every)
            branching.append(BranchingActor(self.actor(seed), play.env, c.forks, points, returns))
            return branching[-1]

        batch = play(actor)
        self.fork_tokens = sum(each.tokens for each in branching)
        return batch

    def update(self, batch: Trajectories) -> dict[str, float]:
        """Learn from a batch of episodes: eq. 9 of Schulman et al. 2017 without its value loss.

        Returns:
            metrics: losses, KLs in nats, and how the clipping worked, averaged over the tokens of all epochs;
            "value_mean" and "explained_variance" of the estimates; "fork_tokens", how many were chosen in forks.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        c, mask, common = self.config, batch.completion_mask, self.common
        rewards, ref_logprobs = common.penalised_rewards(batch)
        advantages = self.advantages(rewards, batch)
        if c.whiten_advantages:
            advantages = masked_whiten(advantages, mask)

        def token_terms(new: Evaluation, piece: Piece) -> dict[str, Tensor]:
            old_logprobs = piece.of(batch.logprobs)
            return {
                "policy_loss": clipped_surrogate(new.logprobs, old_logprobs, piece.of(advantages), c.clip_coef),
                "entropy": new.entropies,
                "approx_kl": approx_kl(new.logprobs, old_logprobs),
                "clip_fraction": clip_fraction(new.logprobs, old_logprobs, c.clip_coef),
            }

        metrics = common.gradient_steps(batch, token_terms, {"policy_loss": 1.0, "entropy": -c.ent_coef})
        returns = returns_to_go(rewards, batch.bootstrap, mask, 1.0)
        metrics["value_mean"] = float(masked_mean(batch.values, valued(batch)))
        metrics["explained_variance"] = explained_variance(batch.values, returns, valued(batch))
        metrics |= common.processes.total({"fork_tokens": float(self.fork_tokens)})
        return metrics | common.end_update(batch, ref_logprobs)

    def advantages(self, rewards: Tensor, batch: Trajectories) -> Tensor:
        """(N, L): what each stretch between two valued states was worth, before whitening. rewards: (N, L)."""
        return segment_advantages(rewards, batch.values, valued(batch), batch.completion_mask)

    def state(self) -> AlgorithmState:
        """That of every policy-gradient algorithm."""
        return self.common.state()

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`."""
        self.common.load_state(state, for_training=for_training)

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """The rewards that it learns from, advantages before whitening, and the values."""
        rewards, _ = self.common.penalised_rewards(batch)
        at = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
        last = torch.where(valued(batch), at, 0).cummax(1).values
        held = torch.where(batch.completion_mask, batch.values.gather(1, last), 0.0)
        about = "Better or worse than expected: what the tokens between two valued states changed, KL penalty included"
        expected = f"The mean return of {self.config.forks} episodes played on from the last valued state before this"
        return Diagnostics(
            (
                self.common.learned_reward(rewards),
                Quantity("advantage", "advantage", about, self.advantages(rewards, batch)),
                Quantity("value", "value", expected, held),
            )
        )


def valued(batch: Trajectories) -> Tensor:
    """(N, L) bool: where a value was estimated before the choice."""
    return batch.completion_mask & ~batch.values.isnan()
