"""REINFORCE over tokens: the plain policy gradient, and the baselines that make it work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Play, Quantity
from dyngen_agents.algorithms.minibatch_pass import Piece
from dyngen_agents.algorithms.policy_gradient import PolicyGradient, RunShape
from dyngen_agents.algorithms.settings import NOT_NEGATIVE, check_groups, check_settings
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.functional.losses import policy_gradient_loss
from dyngen_agents.functional.returns import batch_baseline, discounted_returns, rebn, returns_to_go, rloo_baseline
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy, Evaluation
from dyngen_agents.policy.reference import Reference


@dataclass(frozen=True)
class REINFORCEConfig:
    """Train by REINFORCE, the plain policy gradient with a baseline."""

    learning_rate: float = 1e-3
    """After warm-up; annealed to zero. For reviews-lm with 2.7 M parameters."""
    warmup_steps: int = 5
    """Gradient steps over which the learning rate rises."""
    minibatch_size: int = 0
    """Episodes of one gradient step; 0 is the whole batch, which keeps every step on-policy."""
    max_tokens: int | None = None
    """Padded tokens of one forward pass; a minibatch above it is accumulated. Bounds memory, changes no result. By
    default 1024 on a CPU, and on a GPU what its memory holds."""
    baseline: Literal["none", "batch", "rloo", "rebn"] = "rebn"
    """The baseline: none; the batch's mean return; rloo, the other episodes of the prompt; rebn, whitened returns."""
    group_size: int = 1
    """Episodes of each prompt in a batch; at least 2 for "rloo"."""
    gamma: float = 1.0
    """Discount per token that the agent chooses."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    kl_coef: float = 0.03
    """β of the penalty -β(log π - log π_ref) per token. Ends near 0.4 nats per token in dyngen/Sentiment-v0."""
    kl_target: float | None = None
    """Nats per episode that an adaptive β steers to (Ziegler et al. 2019: 6); None keeps β fixed."""
    kl_horizon: float = 10_000
    """Episodes over which the adaptive β adapts."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        check_settings(self, minibatch_size=NOT_NEGATIVE)
        if self.baseline == "rloo" and self.group_size < 2:
            raise ValueError(
                f'baseline="rloo" compares episodes of one prompt: group_size is {self.group_size}, set 2+'
            )


class REINFORCE:
    """Williams 1992, with return-to-go, a baseline and a per-token KL penalty in the reward.

    The arguments are those of every `Algorithm`.
    """

    Config: ClassVar[type] = REINFORCEConfig

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        config: REINFORCEConfig | None = None,
        **run: Unpack[RunShape],
    ):
        self.config = config or REINFORCEConfig()
        check_groups(run.get("episodes", 0), self.config.group_size)
        whole_or_part = self.config.minibatch_size or None
        # The value head takes no part: REINFORCE has no critic.
        self.common = PolicyGradient(
            policy, reference, self.config, policy.lm.parameters(), epochs=1, minibatch_size=whole_or_part, **run
        )

    def actor(self, seed: int) -> Actor:
        """The policy at work: what it is in rollouts."""
        return self.common.actor(seed)

    def experience(self, play: Play) -> Trajectories:
        """Episodes of the policy as it is. There is no critic: what follows a truncation counts as nothing."""
        return play(self.actor, group_size=self.config.group_size)

    def advantages(self, rewards: Tensor, batch: Trajectories) -> Tensor:
        """(N, L): Aₜ = Gₜ - b for rewards (N, L), by the configured baseline b. Zero outside the completion mask.

        "batch" and "rloo" subtract the expected G₀, discounted by γ as Gₜ is, though only G₀ is the whole return: exact
        for rewards that come at the end if γ = 1, and still unbiased for others, since b does not depend on the action.
        """
        mask = batch.completion_mask
        returns = returns_to_go(rewards, batch.bootstrap, mask, self.config.gamma)
        match self.config.baseline:
            case "none":
                return returns
            case "rebn":
                return rebn(returns, mask)
            case "batch":
                baseline = batch_baseline(discounted_returns(rewards, mask, self.config.gamma))
            case "rloo":
                baseline = rloo_baseline(discounted_returns(rewards, mask, self.config.gamma), batch.groups)
        return (returns - baseline.unsqueeze(1)) * mask

    def update(self, batch: Trajectories) -> dict[str, float]:
        """One pass over a batch of episodes: ∇ E[Σₜ Aₜ log π(aₜ|sₜ)].

        Returns:
            metrics: losses and KLs in nats.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        rewards, ref_logprobs = self.common.penalised_rewards(batch)
        advantages = self.advantages(rewards, batch)

        def token_terms(new: Evaluation, piece: Piece) -> dict[str, Tensor]:
            return {
                "policy_loss": policy_gradient_loss(new.logprobs, piece.of(advantages)),
                "entropy": new.entropies,
            }

        weights = {"policy_loss": 1.0, "entropy": -self.config.ent_coef}
        metrics = self.common.gradient_steps(batch, token_terms, weights)
        return metrics | self.common.end_update(batch, ref_logprobs)

    def state(self) -> AlgorithmState:
        """That of every policy-gradient algorithm."""
        return self.common.state()

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`."""
        self.common.load_state(state, for_training=for_training)

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """The rewards that it learns from, and advantages."""
        c = self.config
        rewards, _ = self.common.penalised_rewards(batch)
        about = f"Return-to-go of the rewards with KL penalty, γ {c.gamma:g}, baseline “{c.baseline}”"
        if c.baseline in ("batch", "rebn"):
            about += " over the episodes of this page; training takes it over its batch"
        return Diagnostics(
            (
                self.common.learned_reward(rewards),
                Quantity("advantage", "advantage", about, self.advantages(rewards, batch)),
            ),
            ("No values: REINFORCE has no critic.",),
        )
