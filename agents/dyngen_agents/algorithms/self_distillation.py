"""Learning from words alone: the model that has heard the user's answer teaches the model that has not."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Play, Quantity
from dyngen_agents.algorithms.minibatch_pass import Piece
from dyngen_agents.algorithms.policy_gradient import PolicyGradient, RunShape
from dyngen_agents.algorithms.settings import POSITIVE, check_settings
from dyngen_agents.data.batching import map_in_batches
from dyngen_agents.data.hindsight import hindsight_rows
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.functional.losses import approx_kl, clip_fraction, clipped_surrogate
from dyngen_agents.functional.returns import masked_mean, masked_whiten
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy, Evaluation
from dyngen_agents.policy.reference import Reference
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.loading.models import context_window

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SelfDistillationConfig:
    """Train on what users say, by self-distillation: ratings and rewards are not looked at."""

    learning_rate: float = 5e-4
    """After warm-up; annealed to zero."""
    warmup_steps: int = 10
    """Gradient steps over which the learning rate rises."""
    epochs: int = 2
    """Passes over each batch of episodes."""
    minibatch_size: int = 64
    """Episodes of one gradient step."""
    max_tokens: int | None = None
    """Padded tokens of one forward pass; a minibatch above it is accumulated. Bounds memory, changes no result. By
    default 1024 on a CPU, and on a GPU what its memory holds."""
    largest_gain: float = 5.0
    """Nats within which a token's gain counts: one that the teacher would never write must not outweigh a batch."""
    whiten_advantages: bool = True
    """Zero mean and unit variance over the tokens of the turns that were answered in words."""
    clip_coef: float = 0.2
    """ε of the clipped surrogate."""
    kl_coef: float = 0.02
    """β of the penalty -β(log π - log π_ref) per token."""
    kl_target: float | None = None
    """Nats per episode that an adaptive β steers to; None keeps β fixed."""
    kl_horizon: float = 10_000
    """Episodes over which the adaptive β adapts."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        check_settings(self, largest_gain=POSITIVE)


class SelfDistillation:
    """On-policy self-distillation from feedback in words (SDPO, SDFT, the on-policy distillation of OpenClaw-RL, 2026).

    The teacher is the policy itself, in a context that has the user's answer, too (`data.hindsight`). How much likelier
    that makes a token is its advantage:

        Aₜ = log π(aₜ | sₜ, answer) − log π(aₜ | sₜ)

    In expectation over the policy's own tokens the gradient of Σ Aₜ log π is that of −KL(π(·|s) ‖ π(·|s, answer)),
    token by token, with the teacher held fixed. No advantage reaches back from later tokens. Turns without an answer in
    words teach nothing. The arguments are those of every `Algorithm`.
    """

    Config: ClassVar[type] = SelfDistillationConfig

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        config: SelfDistillationConfig | None = None,
        **run: Unpack[RunShape],
    ):
        self.policy, self.config = policy, config or SelfDistillationConfig()
        c = self.config
        # The value head takes no part: there is no critic.
        self.common = PolicyGradient(
            policy, reference, c, policy.lm.parameters(), epochs=c.epochs, minibatch_size=c.minibatch_size, **run
        )
        self.env: TextGenVectorEnv | None = None  # where it plays, known from the first rollout on

    def actor(self, seed: int) -> Actor:
        """The policy at work: what it is in rollouts."""
        return self.common.actor(seed)

    def experience(self, play: Play) -> Trajectories:
        """Episodes of the policy as it is. Raises ValueError where nobody answers: there are no words to learn from."""
        if not play.env.user.answers:
            raise ValueError(
                "self-distillation learns from what a user says, and nobody answers in this env: give it a user, as in "
                "user='simulated', or take dyngen/Dialogue-v0"
            )
        self.env = play.env
        return play(self.actor)

    def gains(self, batch: Trajectories) -> tuple[Tensor, Tensor]:
        """log π(token | with the answer) − log π(token | without), in nats, and where there was an answer in words:
        (N, L) each, zero and False elsewhere. Gains are bounded by `largest_gain`."""
        assert self.env is not None, "experience comes first"
        rows = hindsight_rows(batch, self.env.tokenizer, context_window(self.policy.lm.config))
        if rows is None:
            return torch.zeros_like(batch.logprobs), torch.zeros_like(batch.completion_mask)

        def logprobs(tokens: Tensor, completion_mask: Tensor) -> Tensor:
            return self.policy.evaluate(tokens, completion_mask).logprobs

        taught = map_in_batches(logprobs, rows.as_batch(), self.common.max_tokens, self.common.processes)
        heard = rows.aligned(rows.completion_mask, batch.completion_mask)
        gains = rows.aligned(taught, batch.logprobs) - batch.logprobs
        bound = self.config.largest_gain
        return torch.where(heard, gains.clamp(-bound, bound), 0.0), heard

    def update(self, batch: Trajectories) -> dict[str, float]:
        """Learn from a batch of episodes: PPO's clipped surrogate (Schulman et al. 2017, eq. 7) of these advantages,
        less β KL at each token.

        Returns:
            metrics: losses, KLs in nats; "heard", the share of tokens in turns that were answered in words, and
            "gain", their mean gain in nats: minus the KL divergence from the teacher, per token.

        Raises:
            FloatingPointError: loss or gradients are not finite; the last step taken was a good one.
        """
        c, mask = self.config, batch.completion_mask
        gains, heard = self.gains(batch)
        penalised, ref_logprobs = self.common.penalised_rewards(replace(batch, rewards=gains))
        metrics = {"heard": float(masked_mean(heard.float(), mask)), "gain": 0.0}
        if bool(heard.any()):
            metrics["gain"] = float(masked_mean(gains, heard))
        else:
            log.warning("nobody has said a word in %d episodes: this update learns nothing", len(batch))
        advantages = torch.where(heard, penalised, 0.0)
        if c.whiten_advantages and bool(heard.any()):
            advantages = masked_whiten(advantages, heard)

        def token_terms(new: Evaluation, piece: Piece) -> dict[str, Tensor]:
            old = piece.of(batch.logprobs)
            return {
                "policy_loss": clipped_surrogate(new.logprobs, old, piece.of(advantages), c.clip_coef),
                "entropy": new.entropies,
                "approx_kl": approx_kl(new.logprobs, old),
                "clip_fraction": clip_fraction(new.logprobs, old, c.clip_coef),
            }

        metrics |= self.common.gradient_steps(batch, token_terms, {"policy_loss": 1.0})
        return metrics | self.common.end_update(batch, ref_logprobs)

    def state(self) -> AlgorithmState:
        """That of every policy-gradient algorithm."""
        return self.common.state()

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`."""
        self.common.load_state(state, for_training=for_training)

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """What the user's answer would have made likelier or less likely, token by token."""
        about = "log π(token | with the user's answer) − log π(token | without): above zero, whoever had known the "
        about += "answer would have been likelier to write it"
        gains, _ = self.gains(batch)
        return Diagnostics(
            (Quantity("gain", "gain by hindsight", about, gains, "nats"),),
            ("Turns that nobody answered in words teach nothing: their gains are 0.",),
        )
