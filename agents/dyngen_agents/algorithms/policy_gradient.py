"""What the policy-gradient algorithms have in common: actor, KL penalty, gradient steps, and the state of all that."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Literal, Protocol, TypedDict

import torch
from torch import Tensor, nn

from dyngen_agents.algorithms.algorithm import AlgorithmState, Quantity
from dyngen_agents.algorithms.minibatch_pass import Piece, TokenTerms, minibatch_pass
from dyngen_agents.algorithms.optimizer import PolicyOptimizer
from dyngen_agents.data.batching import entropies_of, map_in_batches
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.functional.kl_control import (
    kl_controller,
    kl_metrics,
    kl_penalised_rewards,
    later_kl_penalised_rewards,
)
from dyngen_agents.functional.losses import kl_k3
from dyngen_agents.functional.returns import masked_mean
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy, Evaluation
from dyngen_agents.policy.forward_size import tokens_of_a_forward
from dyngen_agents.policy.reference import Reference

MISMATCH_BOUNDS = {torch.float32: 1e-3}  # nats a token on average, by the model's precision; and of any other:
MISMATCH_BOUND = 0.03  # bfloat16 has about 0.005; above 0.03 ratios of 1 ± 0.2 are clipped by rounding

log = logging.getLogger(__name__)


class RunShape(TypedDict, total=False):
    """How long a run is and who takes part in it, as `Algorithm` explains. Each has a default."""

    total_updates: int
    episodes: int
    seed: int
    processes: Processes


class PolicyGradientConfig(Protocol):
    """The hyper-parameters that all of them have; `settings.RANGES` has what they may be."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def max_tokens(self) -> int | None: ...
    @property
    def kl_coef(self) -> float: ...
    @property
    def kl_target(self) -> float | None: ...
    @property
    def kl_horizon(self) -> float: ...
    @property
    def max_grad_norm(self) -> float: ...


class PolicyGradient:
    """The part of a policy-gradient algorithm that does not depend on its advantages and its loss.

    Args:
        policy: what learns. reference: what it is held to.
        trained: the parameters that learn.
        epochs, minibatch_size, value_gradient: see `minibatch_pass`.
        kl_estimator: "k1" has the KL in the reward, by the log-ratio of each chosen token (Ziegler et al. 2019).
            "k3" has it in the loss, by Schulman's estimate at each chosen token (Shao et al. 2024, eq. 4).
            "exact" has the divergence of the whole next-token distribution in the loss, and in the reward what a choice
            does to the KL of the choices after it: the same gradient in expectation, with less noise.
        total_updates, episodes, seed, processes: see `Algorithm`.

    Raises:
        ValueError: settings that cannot work together.
    """

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        config: PolicyGradientConfig,
        trained: Iterable[nn.Parameter],
        *,
        epochs: int,
        minibatch_size: int | None,
        kl_estimator: Literal["k1", "k3", "exact"] = "k1",
        value_gradient: bool = True,
        total_updates: int = 0,
        episodes: int = 0,
        seed: int = 0,
        processes: Processes = SINGLE_PROCESS,
    ):
        self.policy, self.reference = policy, reference
        self.max_tokens = config.max_tokens or tokens_of_a_forward(policy.lm)
        self.epochs, self.minibatch_size = epochs, minibatch_size
        self.seed, self.processes, self.updates, self.warned = seed, processes, 0, False
        self.kl_estimator, self.value_gradient = kl_estimator, value_gradient
        self.kl_control = kl_controller(config.kl_coef, config.kl_target, config.kl_horizon, episodes)
        steps = total_updates * epochs * -(-episodes // (minibatch_size or max(1, episodes)))
        self.optimizer = PolicyOptimizer(
            trained, config.learning_rate, steps, config.warmup_steps, config.max_grad_norm, processes
        )

    def actor(self, seed: int) -> Actor:
        """The behaviour policy of one rollout."""
        return Actor(self.policy, seed, processes=self.processes)

    def reference_logprobs(self, batch: Trajectories, *, shared: bool = True) -> Tensor:
        """(N, L): the reference's log-probs of the chosen tokens, in nats; zero elsewhere.

        Args:
            shared: whether all processes have this batch, and share the work; else it is this process's own.
        """
        processes = self.processes if shared else SINGLE_PROCESS
        return map_in_batches(self.reference.logprobs, batch, self.max_tokens, processes)

    def penalised_rewards(self, batch: Trajectories) -> tuple[Tensor, Tensor]:
        """The rewards, less β KL unless the loss has it, and the reference's log-probs, (N, L) each."""
        ref_logprobs = self.reference_logprobs(batch)
        if self.kl_estimator == "k3":
            return batch.rewards, ref_logprobs
        penalised = later_kl_penalised_rewards if self.kl_estimator == "exact" else kl_penalised_rewards
        rewards = penalised(batch.rewards, batch.logprobs, ref_logprobs, batch.completion_mask, self.kl_control.coef)
        return rewards, ref_logprobs

    def gradient_steps(
        self,
        batch: Trajectories,
        token_terms: TokenTerms,
        weights: dict[str, float],
        advantage_scale: float = 1.0,
        ref_logprobs: Tensor | None = None,
    ) -> dict[str, float]:
        """The steps of one update, as `minibatch_pass` explains; every update has permutations of its own.

        Args:
            advantage_scale: what the advantages were divided by: β of a KL in the loss is divided by it, too.
            ref_logprobs: (N, L) the reference's, of the chosen tokens; "k3" needs them.
        """

        def terms_with_kl(new: Evaluation, piece: Piece) -> dict[str, Tensor]:
            if self.kl_estimator == "exact":
                return token_terms(new, piece) | {"kl_loss": new.kls}
            assert ref_logprobs is not None, "k3 needs them"
            return token_terms(new, piece) | {"kl_loss": kl_k3(new.logprobs, piece.of(ref_logprobs))}

        in_loss = self.kl_estimator != "k1"
        if in_loss:
            weights = weights | {"kl_loss": self.kl_control.coef / advantage_scale}
        metrics = minibatch_pass(
            self.policy,
            self.optimizer,
            batch,
            terms_with_kl if in_loss else token_terms,
            weights,
            seed=self.seed + 1_000_003 * self.updates,
            epochs=self.epochs,
            minibatch_size=self.minibatch_size,
            max_tokens=self.max_tokens,
            reference=self.reference if self.kl_estimator == "exact" else None,
            value_gradient=self.value_gradient,
            processes=self.processes,
        )
        self._warn_of_mismatch(metrics["rollout_mismatch"], metrics["rollout_mismatch_max"])
        return metrics

    def _warn_of_mismatch(self, mean: float, largest: float) -> None:
        """Say once if rollout and update give the same tokens other log-probs than rounding explains."""
        dtype = self.policy.lm.dtype
        bound = MISMATCH_BOUNDS.get(dtype, MISMATCH_BOUND)
        if mean <= bound or self.warned:
            return
        self.warned = True
        log.warning(
            "rollout and update disagree on the log-probs of the same tokens: by %.2g nats a token on average, %.2g at "
            "most, expected at most %.2g on average in %s. Ratios are wrong by as much: %s",
            mean, largest, bound, str(dtype).removeprefix("torch."),
            "the key-value cache computes otherwise than whole rows do" if dtype == torch.float32
            else 'train with dtype="float32"',
        )  # fmt: skip

    def mean_entropy(self, batch: Trajectories) -> float:
        """Of the policy at its choices in a batch, in nats per token."""
        entropies = entropies_of(self.policy, batch, self.max_tokens, self.processes)
        return float(masked_mean(entropies, batch.completion_mask))

    def end_update(self, batch: Trajectories, ref_logprobs: Tensor) -> dict[str, float]:
        """Count the update and let β follow the KL.

        Returns:
            "kl", nats per episode, "kl_per_token", the "kl_coef" β that was used, and the "objective" J = R − β KL per
            episode, which is what all this maximises.
        """
        metrics = kl_metrics(batch.logprobs, ref_logprobs, batch.completion_mask) | {"kl_coef": self.kl_control.coef}
        metrics["objective"] = float(batch.episode_returns.mean()) - self.kl_control.coef * metrics["kl"]
        self.updates += 1
        self.kl_control.update(metrics["kl"], len(batch))
        return metrics

    def state(self) -> AlgorithmState:
        """Optimizer, β, and how many updates there were."""
        optimizer = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()}
        return AlgorithmState(optimizer, {"updates": self.updates, "kl_control": self.kl_control.state_dict()})

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`; the optimizer is for training only."""
        self.updates = state.values["updates"]
        self.kl_control.load_state_dict(state.values["kl_control"])
        if for_training:
            self.optimizer.load_tensors(state.under("optimizer."))

    def learned_reward(self, rewards: Tensor) -> Quantity:
        """The rewards (N, L) less β KL, as the inspection page shows them."""
        about = f"What the learner is paid: reward − β·KL, β {self.kl_control.coef:.3g}"
        return Quantity("learned", "reward − β·KL", about, rewards)
