"""REINFORCE over tokens: the plain policy gradient, and the baselines that make it work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dyngen_agents.algorithms.optimizer import PolicyOptimizer
from dyngen_agents.data.batching import map_in_batches
from dyngen_agents.data.trajectories import Trajectories, by_length, minibatches
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.functional.kl_control import kl_controller, kl_penalised_rewards
from dyngen_agents.functional.losses import masked_sum_over, policy_gradient_loss
from dyngen_agents.functional.returns import batch_baseline, rebn, returns_to_go, rloo_baseline
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
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
    max_tokens: int = 4096
    """Padded tokens of one forward pass; a minibatch above it is accumulated. Bounds memory, changes no result."""
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
        if self.baseline == "rloo" and self.group_size < 2:
            raise ValueError(
                f'baseline="rloo" compares episodes of one prompt: group_size is {self.group_size}, set 2+'
            )


class REINFORCE:
    """Williams 1992, with return-to-go, a baseline and a per-token KL penalty in the reward.

    The arguments are those of `PPO`.
    """

    Config = REINFORCEConfig

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        config: REINFORCEConfig | None = None,
        *,
        total_updates: int = 0,
        episodes: int = 0,
        seed: int = 0,
        processes: Processes = SINGLE_PROCESS,
    ):
        self.policy, self.reference, self.config = policy, reference, config or REINFORCEConfig()
        c = self.config
        self.kl_control = kl_controller(c.kl_coef, c.kl_target, c.kl_horizon, episodes)
        steps = total_updates * -(-episodes // (c.minibatch_size or max(1, episodes)))
        # The value head takes no part: REINFORCE has no critic.
        self.optimizer = PolicyOptimizer(
            policy.lm.parameters(), c.learning_rate, steps, c.warmup_steps, c.max_grad_norm, processes
        )
        self.seed, self.processes, self.updates = seed, processes, 0

    def actor(self, seed: int) -> Actor:
        """The behaviour policy of one rollout."""
        return Actor(self.policy, seed, processes=self.processes)

    def bootstrap(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """No critic: what follows a truncation counts as nothing."""
        return torch.zeros(len(tokens), device=tokens.device)

    def advantages(self, rewards: Tensor, batch: Trajectories) -> Tensor:
        """(N, L): Aₜ = Gₜ - b for rewards (N, L), by the configured baseline b. Zero outside the completion mask.

        "batch" and "rloo" subtract the expected return from each Gₜ, though only the first Gₜ is the whole return:
        exact for rewards that come at the end, and still unbiased for others, since b does not depend on the action.
        """
        mask = batch.completion_mask
        returns = returns_to_go(rewards, batch.bootstrap, mask, self.config.gamma)
        match self.config.baseline:
            case "none":
                return returns
            case "rebn":
                return rebn(returns, mask)
            case "batch":
                baseline = batch_baseline(rewards.sum(1))
            case "rloo":
                baseline = rloo_baseline(rewards.sum(1), batch.groups)
        return (returns - baseline.unsqueeze(1)) * mask

    def update(self, batch: Trajectories) -> dict[str, float]:
        """One pass over a batch of episodes: ∇ E[Σₜ Aₜ log π(aₜ|sₜ)].

        Returns:
            metrics: losses and KLs in nats.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        c, mask = self.config, batch.completion_mask
        ref_logprobs = map_in_batches(self.reference.logprobs, batch, c.max_tokens, self.processes)
        kl = ((batch.logprobs - ref_logprobs) * mask).sum(1)  # (N,) nats per episode
        rewards = kl_penalised_rewards(batch.rewards, batch.logprobs, ref_logprobs, mask, self.kl_control.coef)
        advantages = self.advantages(rewards, batch)

        lengths = batch.lengths
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.updates)
        sums = dict.fromkeys(("policy_loss", "entropy"), 0.0)
        norms = []
        for rows in minibatches(len(batch), c.minibatch_size or len(batch), generator):
            rows = rows.to(mask.device)
            total = int(mask[rows].sum())
            for piece in by_length(self.processes.share(rows), lengths, c.max_tokens):
                width = int(lengths[piece].max())
                completion_mask = mask[piece, :width]
                new = self.policy.evaluate(batch.tokens[piece, :width], completion_mask, c.ent_coef != 0)
                token_losses = policy_gradient_loss(new.logprobs, advantages[piece, :width])
                policy_loss = masked_sum_over(token_losses, completion_mask, total)
                entropy = masked_sum_over(new.entropies, completion_mask, total)
                (policy_loss - c.ent_coef * entropy).backward()
                sums["policy_loss"] += float(policy_loss.detach()) * total
                sums["entropy"] += float(entropy.detach()) * total
            norms.append(self.optimizer.step())
        tokens = int(mask.sum())
        self.updates += 1
        metrics = {name: value / tokens for name, value in self.processes.total(sums).items()}
        metrics |= {
            "kl": float(kl.mean()),
            "kl_per_token": float(kl.sum() / tokens),
            "kl_coef": self.kl_control.coef,
            "grad_norm": sum(norms) / len(norms),
            "learning_rate": self.optimizer.rate(),
        }
        self.kl_control.update(metrics["kl"], len(batch))
        return metrics
