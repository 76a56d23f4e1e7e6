"""Proximal policy optimization over tokens, with a per-token KL penalty to a frozen reference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dyngen_agents.algorithms.optimizer import PolicyOptimizer
from dyngen_agents.data.batching import explained_variance, map_in_batches, state_values
from dyngen_agents.data.trajectories import Trajectories, by_length, minibatches
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.functional.kl_control import kl_controller, kl_penalised_rewards
from dyngen_agents.functional.losses import (
    approx_kl,
    clip_fraction,
    clipped_surrogate,
    clipped_value_loss,
    masked_sum_over,
)
from dyngen_agents.functional.returns import gae, masked_mean, masked_whiten
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
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
    max_tokens: int = 4096
    """Padded tokens of one forward pass; a minibatch above it is accumulated. Bounds memory, changes no result."""
    gamma: float = 1.0
    """Discount per token that the agent chooses."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation."""
    clip_coef: float = 0.2
    """ε of the clipped surrogate."""
    value_clip: float = 0.2
    """How far the value may move from the rollout's, in units of return."""
    vf_coef: float = 0.5
    """Weight of the value loss (Schulman et al. 2017 have 1, Huang et al. 0.1): here a better critic pays."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    kl_coef: float = 0.037
    """β of the penalty -β(log π - log π_ref) per token. Ends near 0.4 nats per token in dyngen/Sentiment-v0."""
    kl_target: float | None = None
    """Nats per episode that an adaptive β steers to (Ziegler et al. 2019: 6); None keeps β fixed."""
    kl_horizon: float = 10_000
    """Episodes over which the adaptive β adapts."""
    whiten_advantages: bool = True
    """Zero mean and unit variance over the tokens of the batch."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""


class PPO:
    """Schulman et al. 2017, with the reward of Ziegler et al. 2019.

    Args:
        policy: what learns.
        reference: what it is held to.
        config: hyper-parameters.
        total_updates: calls of `update` in the whole run, for annealing; 0 does not anneal.
        episodes: episodes of one update, for annealing.
        seed: of the minibatch permutations.
        processes: share the work of an update; each is given the whole batch.
    """

    Config = PPOConfig

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        config: PPOConfig | None = None,
        *,
        total_updates: int = 0,
        episodes: int = 0,
        seed: int = 0,
        processes: Processes = SINGLE_PROCESS,
    ):
        self.policy, self.reference, self.config = policy, reference, config or PPOConfig()
        c = self.config
        self.kl_control = kl_controller(c.kl_coef, c.kl_target, c.kl_horizon, episodes)
        steps = total_updates * c.epochs * -(-episodes // c.minibatch_size)
        self.optimizer = PolicyOptimizer(
            policy.parameters(), c.learning_rate, steps, c.warmup_steps, c.max_grad_norm, processes
        )
        self.seed, self.processes, self.updates = seed, processes, 0

    def actor(self, seed: int) -> Actor:
        """The behaviour policy of one rollout."""
        return Actor(self.policy, seed, processes=self.processes)

    def bootstrap(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """V (R,) of states (tokens (R, L), lengths (R,)), for truncated episodes."""
        return state_values(self.policy, tokens, lengths)

    def update(self, batch: Trajectories) -> dict[str, float]:
        """Learn from a batch of episodes: eq. 9 of Schulman et al. 2017, with the KL in the reward.

        Returns:
            metrics: losses, KLs in nats, and how the clipping worked, averaged over the tokens of all epochs.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        c, mask = self.config, batch.completion_mask
        ref_logprobs = map_in_batches(self.reference.logprobs, batch, c.max_tokens, self.processes)
        kl = ((batch.logprobs - ref_logprobs) * mask).sum(1)  # (N,) nats per episode
        rewards = kl_penalised_rewards(batch.rewards, batch.logprobs, ref_logprobs, mask, self.kl_control.coef)
        advantages, returns = gae(rewards, batch.values, batch.bootstrap, mask, c.gamma, c.gae_lambda)
        if c.whiten_advantages:
            advantages = masked_whiten(advantages, mask)

        lengths = batch.lengths
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.updates)
        sums = dict.fromkeys(("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"), 0.0)
        norms = []
        for _ in range(c.epochs):
            for rows in minibatches(len(batch), c.minibatch_size, generator):
                rows = rows.to(mask.device)
                total = int(mask[rows].sum())
                for piece in by_length(self.processes.share(rows), lengths, c.max_tokens):
                    width = int(lengths[piece].max())
                    completion_mask, old_logprobs, old_values, token_advantages, targets = (
                        x[piece, :width] for x in (mask, batch.logprobs, batch.values, advantages, returns)
                    )
                    new = self.policy.evaluate(batch.tokens[piece, :width], completion_mask, c.ent_coef != 0)
                    terms = {
                        "policy_loss": clipped_surrogate(new.logprobs, old_logprobs, token_advantages, c.clip_coef),
                        "value_loss": clipped_value_loss(new.values, old_values, targets, c.value_clip),
                        "entropy": new.entropies,
                        "approx_kl": approx_kl(new.logprobs, old_logprobs),
                        "clip_fraction": clip_fraction(new.logprobs, old_logprobs, c.clip_coef),
                    }
                    means = {name: masked_sum_over(x, completion_mask, total) for name, x in terms.items()}
                    loss = means["policy_loss"] + c.vf_coef * means["value_loss"] - c.ent_coef * means["entropy"]
                    loss.backward()
                    for name, mean in means.items():
                        sums[name] += float(mean.detach()) * total
                norms.append(self.optimizer.step())
        tokens = int(mask.sum()) * c.epochs
        self.updates += 1
        metrics = {name: value / tokens for name, value in self.processes.total(sums).items()}
        metrics |= {
            "kl": float(kl.mean()),
            "kl_per_token": float(kl.sum() / mask.sum()),
            "kl_coef": self.kl_control.coef,
            "value_mean": float(masked_mean(batch.values, mask)),
            "explained_variance": explained_variance(batch.values, returns, mask),
            "grad_norm": sum(norms) / len(norms),
            "learning_rate": self.optimizer.rate(),
        }
        self.kl_control.update(metrics["kl"], len(batch))
        return metrics
