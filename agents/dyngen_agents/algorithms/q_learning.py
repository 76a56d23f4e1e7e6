"""Q-learning over tokens: ILQL from recorded episodes, and from a replay of its own; double Q-learning as one case."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Play, Quantity
from dyngen_agents.algorithms.minibatch_pass import Piece, gradient_pass
from dyngen_agents.algorithms.optimizer import PolicyOptimizer
from dyngen_agents.algorithms.policy_gradient import RunShape
from dyngen_agents.algorithms.settings import COUNT, FRACTION, NOT_NEGATIVE, Range, check_settings
from dyngen_agents.data.batching import map_in_batches
from dyngen_agents.data.episode_store import EpisodeStore, shuffled_rows
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.distributed.processes import SINGLE_PROCESS
from dyngen_agents.functional.q_targets import expectile_loss, next_values
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.choices import after_last_message, choices
from dyngen_agents.policy.forward_size import tokens_of_a_forward
from dyngen_agents.policy.q_heads import QHeads
from dyngen_agents.policy.q_policy import QPolicy
from dyngen_agents.policy.q_scores import best_values, conservative_losses
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.lm.engine.heads import head_shape
from dyngen_env.lm.logprobs import token_scores

WATCHED = 4  # episodes of an update by which KL and entropy of the acting policy are measured


@dataclass(frozen=True)
class QLearningConfig:
    """Train by Q-learning: ILQL from recorded episodes (--data), or the same from its own.

    Defaults are those of Snell et al. 2023 (ILQL) unless said otherwise.
    """

    learning_rate: float = 3e-4
    """After warm-up; annealed to zero. For models of a few million parameters; LMRL-Gym has 1e-4 for 125 M."""
    warmup_steps: int = 10
    """Gradient steps over which the learning rate rises."""
    epochs: int = 1
    """Passes over the episodes of an update; the next update takes others."""
    minibatch_size: int = 32
    """Episodes of one gradient step."""
    max_tokens: int | None = None
    """Padded tokens of one forward pass; a minibatch above it is accumulated. Bounds memory, changes no result. By
    default 1024 on a CPU, and on a GPU what its memory holds."""
    backup: Literal["expectile", "double"] = "expectile"
    """What follows a choice is worth: "expectile", V of a head that learns the upper expectile of what was chosen there
    (ILQL), never asking about tokens that were not; "double", the best token's Q (double Q-learning, van Hasselt et al.
    2016), which overestimates what it has not seen and wants episodes of its own."""
    tau: float = 0.7
    """τ of the expectile: 0.5 is the mean, the value of the recorded policy; near 1 the best that was seen."""
    gamma: float = 0.99
    """Discount per token that the agent chooses."""
    polyak: float = 0.005
    """How far the target heads follow the others at each gradient step."""
    cql_coef: float = 0.0
    """Weight of the conservative term (Kumar et al. 2020), the cross-entropy of a softmax of Q to what was chosen.
    Above 0 it keeps Q of unseen tokens down, for three passes over the vocabulary. LMRL-Gym: 0 in the maze."""
    bc_coef: float = 1.0
    """Weight of imitation, which teaches π_b. A model that is a clone already wants 0.05: at 1 Q hardly learns."""
    q_gradient: bool = True
    """Whether the losses of Q and V teach the language model, too, or their heads alone."""
    beta: float = 4.0
    """β of acting: π ∝ π_b exp(β Q), per unit of reward. 0 acts as π_b."""
    piece_turns: int = 0
    """Turns of the pieces that recorded dialogues are cut into, each valued at its end by V; 0 keeps them whole. For
    users whose last message says everything, as the maze's: long rows cost the square of their length."""
    replay: int = 2048
    """Without data: how many of its latest episodes it learns from."""
    replay_ratio: int = 2
    """Without data: episodes that are learned from for each that is played."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            tau=Range(0, 1, above=True),
            polyak=FRACTION,
            cql_coef=NOT_NEGATIVE,
            bc_coef=NOT_NEGATIVE,
            beta=NOT_NEGATIVE,
            piece_turns=NOT_NEGATIVE,
            replay=COUNT,
            replay_ratio=COUNT,
        )


class QLearning:
    """Implicit language Q-learning (ILQL, Snell et al. 2023) with one trunk for π_b, two Q heads and V:

        L_Q  = Σ_i (Q_i(sₜ, aₜ) − [rₜ + γ V(sₜ₊₁)])²
        L_V  = |τ − 1(u < 0)| u²,  u = min(Q̄₁, Q̄₂)(sₜ, aₜ) − V(sₜ)
        L    = L_Q + L_V + α_CQL L_CQL + α_BC (−log π_b(aₜ|sₜ))

    Time counts the agent's choices. What follows a truncation counts as nothing, as in PPO. L_Q and L_V are in units of
    the deviation of returns, so that learning rates mean the same for rewards of any size. The arguments are those of
    every `Algorithm`.
    """

    Config: ClassVar[type] = QLearningConfig

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        config: QLearningConfig | None = None,
        **run: Unpack[RunShape],
    ):
        self.policy, self.reference, self.config = policy, reference, config or QLearningConfig()
        c = self.config
        self.seed, self.processes = run.get("seed", 0), run.get("processes", SINGLE_PROCESS)
        self.episodes = run.get("episodes", 0)
        self.max_tokens = c.max_tokens or tokens_of_a_forward(policy.lm)
        width, hidden_size = head_shape(policy.lm)
        legal = policy.distribution.legal
        self.heads = QHeads(hidden_size, width if legal is None else len(legal), policy.lm.device, self.seed)
        self.tilted = QPolicy(policy, self.heads, c.beta)
        self.plain = policy.distribution.with_sampling(SamplingConfig())  # legal tokens, at temperature 1
        self.recorded: EpisodeStore | None = None
        self.replay = EpisodeStore(capacity=c.replay)
        self.value_range = (-math.inf, math.inf)  # what follows a choice cannot be worth less or more
        self.updates = 0
        self.total_updates = run.get("total_updates", 0)
        self.optimizer = PolicyOptimizer(
            [*policy.lm.parameters(), *self.heads.parameters()],
            c.learning_rate,
            self._steps(c.replay_ratio * self.episodes),
            c.warmup_steps,
            c.max_grad_norm,
            self.processes,
        )

    @property
    def acting(self) -> QPolicy:
        """The policy at work: π_b exp(β Q)."""
        return self.tilted

    def read(self, recorded: EpisodeStore | None) -> None:
        """Learn from these episodes instead of its own. Raises ValueError if all of them return the same."""
        if recorded is None:
            return
        if len(returns := recorded.returns.unique()) == 1:
            raise ValueError(
                f"all {len(recorded)} recorded episodes return {float(returns):g}, so there is nothing to prefer: give "
                "episodes with rewards, or train behaviour-cloning"
            )
        self.optimizer.total_steps = self._steps(self.episodes)
        self._begin_at(recorded, pessimistic=True)
        self.value_range = recorded.value_range(self.config.gamma)
        self.recorded = recorded.cut(self.config.piece_turns) if self.config.piece_turns else recorded

    def actor(self, seed: int) -> Actor:
        """The policy at work: what it is in rollouts."""
        return Actor(self.tilted, seed, processes=self.processes)

    def experience(self, play: Play) -> Trajectories:
        """The next recorded episodes, in random order; where there are none, episodes of the policy as it is."""
        if self.recorded is None:
            return play(self.actor)
        rows = shuffled_rows(len(self.recorded), self.episodes, self.updates, self.seed)
        return self.recorded.take(rows).to(self.policy.lm.device)

    def update(self, batch: Trajectories) -> dict[str, float]:
        """Learn from recorded episodes, or take a batch of its own into the replay and learn from that.

        Returns:
            metrics: "q_loss" and "v_loss" in squared deviations of the returns, "cql_loss" and "bc_loss" in nats per
            token, each if it has a part in the loss; "q_mean" and "v_mean" of what was chosen; of the acting policy in
            states of the batch, "entropy" and "kl_per_token" from the reference.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        c = self.config
        learned = batch if self.recorded is not None else self._of_replay(batch)
        v_coef = float(c.backup == "expectile")
        weights = {"q_loss": 1.0, "v_loss": v_coef, "cql_loss": c.cql_coef, "bc_loss": c.bc_coef}
        weights = {name: weight for name, weight in weights.items() if weight}
        metrics = gradient_pass(
            self.optimizer,
            learned,
            lambda piece: self._terms(learned, piece),
            weights,
            seed=self.seed + 1_000_003 * self.updates,
            epochs=c.epochs,
            minibatch_size=c.minibatch_size,
            max_tokens=self.max_tokens,
            after_step=lambda: self.heads.follow(c.polyak),
            processes=self.processes,
        )
        self.updates += 1
        few = batch.take(torch.arange(min(WATCHED, len(batch)), device=batch.tokens.device))
        with torch.no_grad():
            acting = self.tilted.evaluate(few.tokens, few.completion_mask, reference=self.reference)
        chosen = few.completion_mask
        metrics |= {"entropy": float(acting.entropies[chosen].mean()), "kl_per_token": float(acting.kls[chosen].mean())}
        return metrics

    def state(self) -> AlgorithmState:
        """Optimizer, heads, target heads and replay, and how many updates there were."""
        parts = {
            "optimizer": self.optimizer.tensors(),
            "heads": self.heads.state_dict(),
            "replay": self.replay.tensors(),
        }
        tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
        return AlgorithmState(tensors, {"updates": self.updates})

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`; optimizer and replay are for training only."""
        self.updates = state.values["updates"]
        self.heads.load_state_dict(state.under("heads."))
        if for_training:
            self.optimizer.load_tensors(state.under("optimizer."))
            self.replay.load_tensors(state.under("replay."))

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """Q of what was chosen, V before it, and their difference."""
        q = map_in_batches(lambda t, m: self._critic(t, m)[0], batch, self.max_tokens)
        v = map_in_batches(lambda t, m: self._critic(t, m)[1], batch, self.max_tokens)
        return Diagnostics(
            (
                Quantity("advantage", "advantage", "Q − V: better or worse than what else could be chosen here", q - v),
                Quantity("q", "Q", f"What is earned from here on after this token, γ {self.config.gamma:g}", q),
                Quantity("value", "V", "What was expected of the rest before this token", v),
            ),
            (f"The policy acts by log π_b + β Q, β {self.tilted.beta:g}.",),
        )

    def _terms(self, learned: Trajectories, piece: Piece) -> dict[str, Tensor]:
        """The losses, token by token, from one forward pass over a piece of episodes."""
        c, heads = self.config, self.heads
        tokens, mask = piece.of(learned.tokens), piece.of(learned.completion_mask)
        at, hidden, states = choices(self.policy, tokens, mask)
        taken, seen = tokens[at], hidden if c.q_gradient else hidden.detach()

        def placed(x: Tensor) -> Tensor:
            return torch.zeros(tokens.shape, device=tokens.device).index_put(at, x)

        values = self._values(seen, states)
        bootstrap = learned.bootstrap[piece.rows]
        if bool(bootstrap.isnan().any()):
            last = self._values(*after_last_message(self.policy, tokens, mask)).detach()
            bootstrap = torch.where(bootstrap.isnan(), last, bootstrap)
        following = next_values(placed(values.detach()), bootstrap, mask).clamp(*self.value_range)
        targets = (piece.of(learned.rewards) + c.gamma * following)[at]
        first, second = heads.q_at(seen, taken)
        terms = {"q_loss": ((first - targets) / heads.std) ** 2 + ((second - targets) / heads.std) ** 2}
        if c.backup == "expectile":
            terms["v_loss"] = expectile_loss(values / heads.std, heads.target_at(seen, taken) / heads.std, c.tau)
        if c.cql_coef:
            terms["cql_loss"] = conservative_losses(heads, seen, taken, states, self.plain)
        if c.bc_coef:
            terms["bc_loss"] = -token_scores(hidden, taken, states, self.policy.logits).logprobs
        terms |= {"q_mean": torch.minimum(first, second).detach(), "v_mean": values.detach()}
        return {name: placed(term) for name, term in terms.items()}

    @torch.no_grad()
    def _critic(self, tokens: Tensor, completion_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T) min(Q̄₁, Q̄₂) of each choice, and V before it; zero elsewhere."""
        at, hidden, states = choices(self.policy, tokens, completion_mask)
        zeros = torch.zeros(tokens.shape, device=tokens.device)
        q, values = self.heads.target_at(hidden, tokens[at]), self._values(hidden, states)
        return zeros.index_put(at, q), zeros.index_put(at, values)

    def _values(self, hidden: Tensor, states: Tensor | None) -> Tensor:
        """V (M,) of the states after which something was chosen, by the configured backup."""
        if self.config.backup == "expectile":
            return self.heads.value(hidden)
        return best_values(self.heads, hidden, states, self.plain)

    def _of_replay(self, batch: Trajectories) -> Trajectories:
        """Take a batch of its own into the replay, and draw from that what is learned from."""
        self.replay.add(batch)
        self.value_range = self.replay.value_range(self.config.gamma)
        if not self.updates:
            self._begin_at(self.replay, pessimistic=False)
        count = self.config.replay_ratio * len(batch)
        rows = shuffled_rows(len(self.replay), count, 0, self.seed + 7919 * (self.updates + 1))
        return self.replay.take(rows).to(batch.tokens.device)

    def _begin_at(self, store: EpisodeStore, pessimistic: bool) -> None:
        """Q and V begin at the mean return-to-go, a pessimistic Q at the lowest one; their deviation is the unit."""
        returns = store.returns_to_go(self.config.gamma).double()
        mean, std = float(returns.mean()), float(returns.std(correction=0))
        self.heads.begin_at(float(returns.min()) if pessimistic else mean, mean, std if std > 1e-6 else 1.0)

    def _steps(self, episodes: int) -> int:
        """Gradient steps of a run in which every update learns from so many episodes."""
        return self.total_updates * self.config.epochs * -(-episodes // self.config.minibatch_size)
