"""Behaviour cloning: imitate recorded episodes, all of them or the best, by the cross-entropy of what was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Unpack

from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Play, Quantity
from dyngen_agents.algorithms.minibatch_pass import Piece, gradient_pass
from dyngen_agents.algorithms.optimizer import PolicyOptimizer
from dyngen_agents.algorithms.policy_gradient import RunShape
from dyngen_agents.algorithms.settings import check_groups, check_settings
from dyngen_agents.data.batching import kl_of_states, map_in_batches
from dyngen_agents.data.episode_store import EpisodeStore, best_rows, shuffled_rows
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.distributed.processes import SINGLE_PROCESS
from dyngen_agents.functional.preferences import best_and_worst
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.forward_size import tokens_of_a_forward
from dyngen_agents.policy.reference import Reference


@dataclass(frozen=True)
class BehaviourCloningConfig:
    """Train by behaviour cloning: imitate recorded episodes (--data), all of them or the best ones."""

    learning_rate: float = 1e-3
    """After warm-up; annealed to zero. For reviews-lm with 2.7 M parameters; a model of 135 M wants about 3e-5."""
    warmup_steps: int = 10
    """Gradient steps over which the learning rate rises."""
    epochs: int = 1
    """Passes over the episodes of an update; the next update takes others."""
    minibatch_size: int = 32
    """Episodes of one gradient step."""
    max_tokens: int | None = None
    """Padded tokens of one forward pass; a minibatch above it is accumulated. Bounds memory, changes no result. By
    default 1024 on a CPU, and on a GPU what its memory holds."""
    top_fraction: float = 1.0
    """The share of the episodes that is imitated: those with the highest returns ("%BC", Chen et al. 2021). Without
    data it chooses among the policy's own episodes of each update."""
    group_size: int = 1
    """Without data: completions that are played of each prompt, of which the best is imitated. 16 is best-of-n
    distillation with n = 16 (Gui et al. 2024; Dong et al. 2023)."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        check_settings(self)


class BehaviourCloning:
    """Maximum likelihood of recorded choices: −log π(aₜ|sₜ), Pomerleau 1989. The arguments are those of every
    `Algorithm`.

    With `top_fraction` below 1 it is filtered cloning, the %BC of tables in offline RL. Without recorded episodes it
    imitates the best of what it has just played itself: rejection sampling as a learner (RAFT, Dong et al. 2023), with
    `group_size` the best for each prompt.
    """

    Config: ClassVar[type] = BehaviourCloningConfig

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        config: BehaviourCloningConfig | None = None,
        **run: Unpack[RunShape],
    ):
        self.policy, self.reference, self.config = policy, reference, config or BehaviourCloningConfig()
        c = self.config
        self.seed, self.processes = run.get("seed", 0), run.get("processes", SINGLE_PROCESS)
        self.episodes = run.get("episodes", 0)
        self.max_tokens = c.max_tokens or tokens_of_a_forward(policy.lm)
        self.recorded: EpisodeStore | None = None
        self.updates = 0
        check_groups(self.episodes, c.group_size)
        self.total_updates = run.get("total_updates", 0)
        # The value head takes no part.
        self.optimizer = PolicyOptimizer(
            policy.lm.parameters(), c.learning_rate, 0, c.warmup_steps, c.max_grad_norm, self.processes
        )
        self._anneal_over(self.episodes)

    def read(self, recorded: EpisodeStore | None) -> None:
        """Keep the best of recorded episodes to imitate. Raises ValueError where there would be nothing to learn."""
        fraction = self.config.top_fraction
        if recorded is None and fraction == 1 and self.config.group_size == 1:
            raise ValueError(
                "whoever imitates all episodes of their own learns nothing: give data (dyngen record makes it), or "
                "top_fraction=0.1 to imitate the best tenth of what the policy plays itself, or group_size=8 for the "
                "best of eight completions of each prompt"
            )
        self.recorded = None if recorded is None else recorded.best(fraction)
        self._anneal_over(self._imitated if recorded is None else self.episodes)

    @property
    def _imitated(self) -> int:
        """Of the episodes that are played for an update, those that are imitated, if all groups differ."""
        return max(1, round(self.config.top_fraction * (self.episodes // self.config.group_size)))

    def _anneal_over(self, episodes: int) -> None:
        """Let the learning rate reach zero at the end of the run, whose updates imitate so many episodes each."""
        steps = -(-episodes // self.config.minibatch_size)
        self.optimizer.total_steps = self.total_updates * self.config.epochs * steps

    def actor(self, seed: int) -> Actor:
        """The policy at work: what it is in rollouts."""
        return Actor(self.policy, seed, processes=self.processes)

    def experience(self, play: Play) -> Trajectories:
        """The next recorded episodes, in random order; where there are none, episodes of the policy as it is."""
        if self.recorded is None:
            return play(self.actor, group_size=self.config.group_size)
        rows = shuffled_rows(len(self.recorded), self.episodes, self.updates, self.seed)
        return self.recorded.take(rows).to(self.policy.lm.device)

    def update(self, batch: Trajectories) -> dict[str, float]:
        """Make the choices of a batch of episodes likelier.

        Returns:
            metrics: "loss", the cross-entropy in nats per token; "entropy"; "kl_per_token", the divergence of the
            policy from the reference in states of the batch.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        c = self.config
        imitated = batch
        if self.recorded is None:  # recorded ones have been chosen when they were read
            if c.group_size > 1:
                imitated = batch.take(best_and_worst(batch.episode_returns, batch.groups)[:, 0])
            imitated = imitated.take(best_rows(imitated.episode_returns, c.top_fraction))

        def piece_terms(piece: Piece) -> dict[str, Tensor]:
            new = imitated.read(piece.rows, piece.width, lambda t, m: self.policy.evaluate(t, m))
            return {"loss": -new.logprobs, "entropy": new.entropies}

        metrics = gradient_pass(
            self.optimizer,
            imitated,
            piece_terms,
            {"loss": 1.0},
            seed=self.seed + 1_000_003 * self.updates,
            epochs=c.epochs,
            minibatch_size=c.minibatch_size,
            max_tokens=self.max_tokens,
            processes=self.processes,
        )
        self.updates += 1
        metrics["kl_per_token"] = kl_of_states(self.policy, self.reference, batch, self.max_tokens, self.processes)
        return metrics

    def state(self) -> AlgorithmState:
        """Optimizer, and how many updates there were, from which follows what is read next."""
        optimizer = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()}
        return AlgorithmState(optimizer, {"updates": self.updates})

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`; the optimizer is for training only."""
        self.updates = state.values["updates"]
        if for_training:
            self.optimizer.load_tensors(state.under("optimizer."))

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """The loss of each token: how unlikely the policy itself finds it."""
        loss = map_in_batches(lambda t, m: -self.policy.evaluate(t, m).logprobs, batch, self.max_tokens)
        about = "Cross-entropy of this choice: what imitation would lower if this were a recorded episode"
        return Diagnostics(
            (Quantity("loss", "loss", about, loss, "nats", signed=False),),
            ("No advantages: behaviour cloning looks at nothing but what was chosen.",),
        )
