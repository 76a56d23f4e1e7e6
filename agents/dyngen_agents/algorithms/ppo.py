"""Proximal policy optimization over tokens, with a per-token KL penalty to a frozen reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Play, Quantity
from dyngen_agents.algorithms.critic_scale import CriticScale
from dyngen_agents.algorithms.minibatch_pass import Piece
from dyngen_agents.algorithms.off_policy import require_logprobs, reread
from dyngen_agents.algorithms.policy_gradient import PolicyGradient, RunShape
from dyngen_agents.algorithms.settings import POSITIVE, check_settings
from dyngen_agents.algorithms.value_alarm import ValueAlarm
from dyngen_agents.data.batching import explained_variance, kl_of_states
from dyngen_agents.data.episode_store import EpisodeStore, shuffled_rows
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.functional.losses import approx_kl, clip_fraction, clipped_surrogate, clipped_value_loss
from dyngen_agents.functional.returns import gae, masked_mean, masked_whiten
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy, Evaluation
from dyngen_agents.policy.reference import Reference


@dataclass(frozen=True)
class PPOConfig:
    """Train by proximal policy optimization. With no option at all: the default run, a few minutes on two CPU cores.

    Defaults are those of Huang et al. 2023 unless said otherwise.
    """

    learning_rate: float = 5e-4
    """After warm-up; annealed to zero. For reviews-lm with 2.7 M parameters; a model of 135 M wants about 3e-5."""
    warmup_steps: int = 10
    """Gradient steps over which the learning rate rises."""
    epochs: int = 2
    """Passes over each batch of episodes. Huang et al. have 4; on a CPU, where an epoch costs more than the rollout,
    2 learn more in the same time."""
    minibatch_size: int = 64
    """Episodes of one gradient step."""
    max_tokens: int | None = None
    """Padded tokens of one forward pass; a minibatch above it is accumulated. Bounds memory, changes no result. By
    default 1024 on a CPU, and on a GPU what its memory holds."""
    gamma: float = 1.0
    """Discount per token that the agent chooses."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation."""
    clip_coef: float = 0.2
    """ε of the clipped surrogate."""
    value_clip: float = 0.2
    """How far the value may move from the rollout's, in units of return, or with `scale_values` of its deviation."""
    scale_values: bool = False
    """Measure the critic's targets in their running deviation (Pop-Art, van Hasselt et al. 2016), so that it learns as
    well from rewards of any size."""
    vf_coef: float = 0.5
    """Weight of the value loss (Schulman et al. 2017 have 1, Huang et al. 0.1): here a better critic pays."""
    value_gradient: bool = True
    """Whether the value loss teaches the language model, too, or its value head alone."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    kl_coef: float = 0.05
    """β of the penalty -β(log π - log π_ref) per token. Ends near 7 nats per episode in dyngen/Sentiment-v0."""
    kl_estimator: Literal["k1", "exact"] = "k1"
    """"k1" has the KL in the reward, by the log-ratio of each chosen token (Ziegler et al. 2019). "exact" has the
    divergence of whole next-token distributions in the loss (Amini et al. 2025): the same gradient with less noise."""
    kl_target: float | None = None
    """Nats per episode that an adaptive β steers to (Ziegler et al. 2019: 6); None keeps β fixed."""
    kl_horizon: float = 10_000
    """Episodes over which the adaptive β adapts."""
    whiten_advantages: bool = True
    """Zero mean and unit variance over the tokens of the batch."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    importance_cap: float = 1.0
    """How much a token of a recorded episode (--feedback, --data) may count at most, where the policy finds it likelier
    than the one that chose it did (Espeholt et al. 2018)."""

    def __post_init__(self) -> None:
        check_settings(self, importance_cap=POSITIVE)


class PPO:
    """Schulman et al. 2017, with the reward of Ziegler et al. 2019. The arguments are those of every `Algorithm`."""

    Config: ClassVar[type] = PPOConfig

    def __init__(
        self, policy: CausalLMPolicy, reference: Reference, config: PPOConfig | None = None, **run: Unpack[RunShape]
    ):
        self.policy, self.config, self.alarm = policy, config or PPOConfig(), ValueAlarm()
        self.critic_scale = CriticScale(policy.value_head)
        c = self.config
        self.common = PolicyGradient(
            policy,
            reference,
            c,
            policy.parameters(),
            epochs=c.epochs,
            minibatch_size=c.minibatch_size,
            kl_estimator=c.kl_estimator,
            value_gradient=c.value_gradient,
            **run,
        )
        self.episodes = run.get("episodes", 0)
        self.recorded: EpisodeStore | None = None

    def read(self, recorded: EpisodeStore | None) -> None:
        """Learn from these episodes instead of its own. Raises ValueError if it is not known how likely they were."""
        if recorded is not None:
            require_logprobs(recorded)
        self.recorded = recorded

    def actor(self, seed: int) -> Actor:
        """The policy at work: what it is in rollouts."""
        return self.common.actor(seed)

    def experience(self, play: Play) -> Trajectories:
        """Episodes of the policy as it is, or the next recorded ones, in random order.

        What follows a truncation counts as nothing, though there is a critic.

        A state is the whole history, so it knows how much of a limit is left, and an agent that knows the time treats
        its end as an end (Pardo et al. 2018, "Time limits in reinforcement learning", sec. 3). Nor was a value ever
        learned for a state in which nobody acts: a critic that counts on it feeds on itself, and grows without bound.
        """
        if self.recorded is None:
            return play(self.actor)
        rows = shuffled_rows(len(self.recorded), self.episodes, self.common.updates, self.common.seed)
        return self.recorded.take(rows).to(self.policy.lm.device)

    def update(self, batch: Trajectories) -> dict[str, float]:
        """Learn from a batch of episodes: eq. 9 of Schulman et al. 2017, with the KL in the reward.

        Returns:
            metrics: losses, KLs in nats, and how the clipping worked, averaged over the tokens of all epochs;
            "value_alarm", 1 where the critic expects more than any episode has returned (`ValueAlarm`). Of recorded
            episodes those of `off_policy.reread`, too.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        c, mask, common = self.config, batch.completion_mask, self.common
        others: dict[str, float] = {}
        if self.recorded is not None:
            cap = c.importance_cap
            batch, importance, others = reread(self.policy, batch, cap, common.max_tokens, common.processes)
        rewards, ref_logprobs = common.penalised_rewards(batch)
        values = batch.values
        if c.scale_values:
            values = self.critic_scale.observe(values, rewards, batch.bootstrap, mask, c.gamma)
        std = self.policy.value_head.std
        advantages, returns = gae(rewards, values, batch.bootstrap, mask, c.gamma, c.gae_lambda)
        scale = 1.0
        if c.whiten_advantages:
            scale = float(advantages[mask].std(correction=0)) + 1e-8
            advantages = masked_whiten(advantages, mask)
        if self.recorded is not None:
            advantages = advantages * importance

        def token_terms(new: Evaluation, piece: Piece) -> dict[str, Tensor]:
            old_logprobs = piece.of(batch.logprobs)
            expected, old, target = (x / std for x in (new.values, piece.of(values), piece.of(returns)))
            return {
                "policy_loss": clipped_surrogate(new.logprobs, old_logprobs, piece.of(advantages), c.clip_coef),
                "value_loss": clipped_value_loss(expected, old, target, c.value_clip),
                "entropy": new.entropies,
                "approx_kl": approx_kl(new.logprobs, old_logprobs),
                "clip_fraction": clip_fraction(new.logprobs, old_logprobs, c.clip_coef),
            }

        weights = {"policy_loss": 1.0, "value_loss": c.vf_coef, "entropy": -c.ent_coef}
        metrics = common.gradient_steps(batch, token_terms, weights, scale)
        metrics["value_alarm"] = float(self.alarm.check(values, rewards, mask, c.gamma))
        metrics["value_mean"] = float(masked_mean(values, mask))
        metrics["explained_variance"] = explained_variance(values, returns, mask)
        if self.recorded is None:
            return metrics | common.end_update(batch, ref_logprobs)
        common.updates += 1  # others have written these episodes: their log-probs say nothing of this policy's KL
        kl = kl_of_states(self.policy, common.reference, batch, common.max_tokens, common.processes)
        return metrics | others | {"kl_per_token": kl, "kl_coef": common.kl_control.coef}

    def state(self) -> AlgorithmState:
        """That of every policy-gradient algorithm, the value head, and the largest return seen."""
        common = self.common.state()
        head = {f"value_head.{name}": tensor for name, tensor in self.policy.value_head.state_dict().items()}
        values = {"largest_return": self.alarm.largest, "critic_scale": self.critic_scale.state()}
        return AlgorithmState(common.tensors | head, common.values | values)

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`."""
        self.common.load_state(state, for_training=for_training)
        # Runs of 0.2 and before have weight and bias alone.
        head = self.policy.value_head
        head.load_state_dict(head.state_dict() | state.under("value_head."))
        self.alarm.largest = state.values.get("largest_return", 0.0)
        if scale := state.values.get("critic_scale"):
            self.critic_scale.load_state(scale)

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """The rewards that it learns from, advantages before whitening, and values."""
        c = self.config
        rewards, _ = self.common.penalised_rewards(batch)
        advantages, _ = gae(rewards, batch.values, batch.bootstrap, batch.completion_mask, c.gamma, c.gae_lambda)
        about = f"Better or worse than expected: GAE of the rewards with KL penalty, γ {c.gamma:g}, λ {c.gae_lambda:g}"
        about += "; training then whitens it over its batch" if c.whiten_advantages else ""
        expected = "What the value head expected of the rest, before this token"
        return Diagnostics(
            (
                self.common.learned_reward(rewards),
                Quantity("advantage", "advantage", about, advantages),
                Quantity("value", "value", expected, batch.values),
            )
        )
