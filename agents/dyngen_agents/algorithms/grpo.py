"""GRPO: a completion is measured against others of the same prompt, by a clipped ratio and without a critic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Unpack

from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Play, Quantity
from dyngen_agents.algorithms.minibatch_pass import Piece
from dyngen_agents.algorithms.policy_gradient import PolicyGradient, RunShape
from dyngen_agents.algorithms.settings import Range, check_groups, check_settings
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.functional.losses import approx_kl, clip_fraction, clipped_surrogate
from dyngen_agents.functional.returns import group_centred, group_normalised, has_spread
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy, Evaluation
from dyngen_agents.policy.reference import Reference


@dataclass(frozen=True)
class GRPOConfig:
    """Train by group relative policy optimization: completions of one prompt are compared with each other."""

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
    group_size: int = 8
    """Episodes of each prompt in a batch, at least 2. Shao et al. 2024 have 64, DAPO 16."""
    scale_rewards: Literal["std", "none"] = "std"
    """What advantages are divided by: the deviation of the group (Shao et al. 2024), or nothing (Dr. GRPO)."""
    loss_normalisation: Literal["sequence", "token", "constant"] = "token"
    """Mean of the sequences' means (Shao et al. 2024), mean over all tokens (DAPO), or the sum over B times the
    context's length (Dr. GRPO)."""
    clip_coef: float = 0.2
    """ε of the clipped surrogate: how far a ratio may fall (Shao et al. 2024)."""
    clip_coef_high: float = 0.28
    """How far a ratio may rise: above ε it keeps rare tokens alive (DAPO, Yu et al. 2025)."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    kl_coef: float = 0.037
    """β of the penalty -β KL(π‖π_ref) per token."""
    kl_estimator: Literal["k1", "k3"] = "k1"
    """"k1" has it in the reward. "k3" in the loss (Shao et al. 2024, eq. 4), where it binds less."""
    kl_target: float | None = None
    """Nats per episode that an adaptive β steers to (Ziegler et al. 2019: 6); None keeps β fixed."""
    kl_horizon: float = 10_000
    """Episodes over which the adaptive β adapts."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        check_settings(self, group_size=Range(2))


class GRPO:
    """Shao et al. 2024 (DeepSeekMath), sec. 4.1.2, and as options what DAPO (Yu et al. 2025) and Dr. GRPO (Liu et al.
    2025) do otherwise. The arguments are those of every `Algorithm`.
    """

    Config: ClassVar[type] = GRPOConfig

    def __init__(
        self, policy: CausalLMPolicy, reference: Reference, config: GRPOConfig | None = None, **run: Unpack[RunShape]
    ):
        self.config = c = config or GRPOConfig()
        check_groups(run.get("episodes", 0), c.group_size)
        self.common = PolicyGradient(
            policy, reference, c, policy.lm.parameters(),  # without the value head: the group is the baseline
            epochs=c.epochs, minibatch_size=c.minibatch_size, kl_estimator=c.kl_estimator, **run,
        )  # fmt: skip

    def actor(self, seed: int) -> Actor:
        """The policy at work: what it is in rollouts."""
        return self.common.actor(seed)

    def experience(self, play: Play) -> Trajectories:
        """Episodes of the policy as it is, `group_size` of each prompt. What follows a truncation counts as nothing."""
        return play(self.actor, group_size=self.config.group_size)

    def advantages(self, rewards: Tensor, batch: Trajectories) -> Tensor:
        """(N, L): (R - mean of its group)/(std + 1e-4) at each choice, R the sum of an episode's rewards (N, L)."""
        relative = group_normalised if self.config.scale_rewards == "std" else group_centred
        return relative(rewards.sum(1), batch.groups).unsqueeze(1) * batch.completion_mask

    def update(self, batch: Trajectories) -> dict[str, float]:
        """Learn from groups of episodes: eq. 3 of Shao et al. 2024.

        Groups whose episodes earn the same are left out, as in DAPO: KL alone would make their advantages.

        Returns:
            metrics: as PPO's, and "left_out", the share of episodes in groups without spread.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        c, width, common = self.config, batch.longest_token_row, self.common
        rewards, ref_logprobs = common.penalised_rewards(batch)
        advantages = self.advantages(rewards, batch)
        spread = has_spread(batch.episode_returns, batch.groups)

        def token_terms(new: Evaluation, piece: Piece) -> dict[str, Tensor]:
            old_logprobs = piece.of(batch.logprobs)
            surrogate = clipped_surrogate(
                new.logprobs, old_logprobs, piece.of(advantages), c.clip_coef, c.clip_coef_high
            )
            # The sum over the minibatch will be divided by its tokens: this makes another divisor of it.
            lengths = piece.of(batch.completion_mask).sum(1, keepdim=True)
            n = piece.episodes
            divisors: dict[str, Any] = {"sequence": n * lengths, "token": piece.tokens, "constant": n * width}
            return {
                "policy_loss": surrogate * (piece.tokens / divisors[c.loss_normalisation]),
                "entropy": new.entropies,
                "approx_kl": approx_kl(new.logprobs, old_logprobs),
                "clip_fraction": clip_fraction(new.logprobs, old_logprobs, c.clip_coef, c.clip_coef_high),
            }

        learned = replace(batch, completion_mask=batch.completion_mask & spread.unsqueeze(1))
        weights = {"policy_loss": 1.0, "entropy": -c.ent_coef}
        if spread.any():
            metrics = common.gradient_steps(learned, token_terms, weights, ref_logprobs=ref_logprobs)
        else:
            metrics = {"policy_loss": 0.0, "entropy": common.mean_entropy(batch)}
        metrics["left_out"] = 1 - float(spread.float().mean())
        return metrics | common.end_update(batch, ref_logprobs)

    def state(self) -> AlgorithmState:
        """That of every policy-gradient algorithm."""
        return self.common.state()

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`."""
        self.common.load_state(state, for_training=for_training)

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """The rewards that it learns from, and advantages."""
        rewards, _ = self.common.penalised_rewards(batch)
        about = "Better or worse than the other completions of its prompt on this page, KL penalty included"
        advantages = Quantity("advantage", "advantage", about, self.advantages(rewards, batch))
        return Diagnostics((self.common.learned_reward(rewards), advantages), ("No values: GRPO has no critic.",))
