"""DPO: of several completions of a prompt, played or recorded, the best is made likelier than the worst."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Play, Quantity
from dyngen_agents.algorithms.policy_gradient import PolicyGradient, RunShape
from dyngen_agents.algorithms.settings import Range, check_groups, check_settings
from dyngen_agents.data.batching import kl_of_states, map_in_batches
from dyngen_agents.data.episode_store import EpisodeStore, shuffled_rows
from dyngen_agents.data.trajectories import Trajectories, by_length, minibatches
from dyngen_agents.functional.preferences import PreferenceLoss, best_and_worst, preference_loss
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference


@dataclass(frozen=True)
class DPOConfig:
    """Train by direct preference optimization: the best completion of a prompt against the worst."""

    learning_rate: float = 5e-4
    """After warm-up; annealed to zero. For reviews-lm with 2.7 M parameters; a model of 135 M wants about 3e-5."""
    warmup_steps: int = 10
    """Gradient steps over which the learning rate rises."""
    epochs: int = 1
    """Passes over the pairs of a batch."""
    minibatch_size: int = 16
    """Pairs of one gradient step."""
    max_tokens: int | None = None
    """Padded tokens of one forward pass; a minibatch above it is accumulated. Bounds memory, changes no result. By
    default 1024 on a CPU, and on a GPU what its memory holds."""
    group_size: int = 4
    """Completions of each prompt, of which the best and the worst make a pair; at least 2 (Guo et al. 2024)."""
    loss: PreferenceLoss = "sigmoid"
    """What a pair teaches: "sigmoid", which of the two is better (Rafailov et al. 2023); "soft", how surely somebody
    would say so, by the rewards' difference; "squared", that difference itself (Fisch et al. 2024)."""
    kl_coef: float = 0.1
    """β, by which the policy is held to the reference: a log-ratio of 1 counts as so much reward."""
    kl_target: float | None = None
    """Nats per episode that an adaptive β steers to (Ziegler et al. 2019: 6); None keeps β fixed."""
    kl_horizon: float = 10_000
    """Episodes over which the adaptive β adapts."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        check_settings(self, group_size=Range(2))


class DPO:
    """Direct preference optimization (Rafailov et al. 2023).

    Its pairs are completions that the policy has just written itself and the env has rated (Guo et al. 2024, "Direct
    Language Model Alignment from Online AI Feedback"), or those of recorded episodes, such as pairs that people chose
    between. The arguments are those of every `Algorithm`.
    """

    Config: ClassVar[type] = DPOConfig

    def __init__(
        self, policy: CausalLMPolicy, reference: Reference, config: DPOConfig | None = None, **run: Unpack[RunShape]
    ):
        self.config = c = config or DPOConfig()
        check_groups(run.get("episodes", 0), c.group_size)
        # A group gives one pair: so many steps are in a run, for the annealing.
        pairs: RunShape = {**run, "episodes": run.get("episodes", 0) // c.group_size}
        self.common = PolicyGradient(
            policy, reference, c, policy.lm.parameters(), epochs=c.epochs, minibatch_size=c.minibatch_size, **pairs
        )

        self.episodes = run.get("episodes", 0)
        self.recorded: EpisodeStore | None = None
        self.recorded_pairs: list[list[int]] = []

    def read(self, recorded: EpisodeStore | None) -> None:
        """Pair recorded episodes of equal prompts. Raises ValueError where no two of them differ in their reward."""
        self.recorded = recorded
        if recorded is None:
            return
        numbers: dict[str, int] = {}
        groups = torch.tensor([numbers.setdefault(e.prompt, len(numbers)) for e in recorded.episodes])
        self.recorded_pairs = best_and_worst(recorded.returns, groups, most=len(recorded)).tolist()
        if not self.recorded_pairs:
            raise ValueError(
                "no prompt of the data has two completions of different reward, so there are no pairs: record more "
                'episodes than there are prompts, or give a .jsonl file of {"prompt", "chosen", "rejected"}'
            )

    def actor(self, seed: int) -> Actor:
        """The policy at work: what it is in rollouts."""
        return self.common.actor(seed)

    def experience(self, play: Play) -> Trajectories:
        """Episodes of the policy as it is, `group_size` of each prompt; or as many recorded pairs as prompts."""
        if self.recorded is None:
            return play(self.actor, group_size=self.config.group_size)
        count = self.episodes // self.config.group_size
        chosen = shuffled_rows(len(self.recorded_pairs), count, self.common.updates, self.common.seed)
        rows = [row for pair in chosen for row in self.recorded_pairs[pair]]
        batch = self.recorded.take(rows).to(self.common.policy.lm.device)
        return replace(batch, groups=torch.arange(len(rows), device=batch.tokens.device) // 2)

    def update(self, batch: Trajectories) -> dict[str, float]:
        """Learn from the best and the worst episode of each group, by eq. 7 of Rafailov et al. 2023.

        Returns:
            metrics: "policy_loss", the mean of a pair; "margin", by how much reward the policy prefers the better
            episode; "accuracy", the share of pairs in which it does; "left_out", the share of groups without a
            difference; "entropy"; KLs in nats.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        common, c = self.common, self.config
        ref_logprobs = common.reference_logprobs(batch)
        pairs = best_and_worst(batch.episode_returns, batch.groups)
        ref_sums = ref_logprobs.sum(1)
        lengths = batch.lengths.cpu()
        pair_lengths = lengths[pairs.cpu()].amax(1)
        generator = torch.Generator().manual_seed(common.seed + 1_000_003 * common.updates)
        sums, norms = dict.fromkeys(("policy_loss", "margin", "accuracy"), 0.0), []
        for _ in range(c.epochs):
            for minibatch in minibatches(len(pairs), c.minibatch_size, generator):
                share = common.processes.share(minibatch)
                for some in by_length(share, pair_lengths, max(1, common.max_tokens // 2)):
                    piece = pairs[some.to(pairs.device)]  # (p, 2)
                    margins = self._margins(batch, piece, int(pair_lengths[some].max()), ref_sums)
                    differences = batch.episode_returns[piece[:, 0]] - batch.episode_returns[piece[:, 1]]
                    losses = preference_loss(margins, differences, c.loss)
                    common.optimizer.backward(losses.sum() / len(minibatch))
                    for name, x in (("policy_loss", losses), ("margin", margins), ("accuracy", margins > 0)):
                        sums[name] += float(x.detach().sum())
                norms.append(common.optimizer.step())
        counted = max(1, len(pairs) * c.epochs)
        metrics = {name: value / counted for name, value in common.processes.total(sums).items()}
        metrics["left_out"] = 1 - len(pairs) / len(batch.groups.unique())
        metrics |= {"grad_norm": sum(norms) / max(1, len(norms)), "learning_rate": common.optimizer.rate()}
        metrics["entropy"] = common.mean_entropy(batch)
        if self.recorded is None:
            return metrics | common.end_update(batch, ref_logprobs)
        common.updates += 1  # others have written these episodes: their log-probs say nothing of this policy's KL
        kl = kl_of_states(common.policy, common.reference, batch, common.max_tokens, common.processes)
        return metrics | {"kl_per_token": kl, "kl_coef": common.kl_control.coef}

    def _margins(self, batch: Trajectories, pairs: Tensor, width: int, ref_sums: Tensor) -> Tensor:
        """β (log π/π_ref of the first − of the second), (p,), of pairs (p, 2) of rows; ref_sums (N,) of episodes."""
        rows = pairs.flatten()
        new = batch.read(rows, width, lambda t, m: self.common.policy.evaluate(t, m))
        log_ratios = (new.logprobs.sum(1) - ref_sums[rows]).view(-1, 2)
        return self.common.kl_control.coef * (log_ratios[:, 0] - log_ratios[:, 1])

    def state(self) -> AlgorithmState:
        """That of every policy-gradient algorithm."""
        return self.common.state()

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`."""
        self.common.load_state(state, for_training=for_training)

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """β times the log-ratio: the reward that the policy implies."""
        ref_logprobs = self.common.reference_logprobs(batch)
        logprobs = map_in_batches(
            lambda t, m: self.common.policy.evaluate(t, m).logprobs, batch, self.common.max_tokens
        )
        implied = self.common.kl_control.coef * (logprobs - ref_logprobs) * batch.completion_mask
        about = "β·(log π − log π_ref): summed over an episode, the reward that this policy is the best answer to"
        return Diagnostics((Quantity("implied", "implied reward", about, implied),), ("No values: DPO has no critic.",))
