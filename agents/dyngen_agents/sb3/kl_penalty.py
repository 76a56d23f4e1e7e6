"""A KL penalty against a frozen reference model for Stable-Baselines3, as a callback."""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import obs_as_tensor

from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.sb3.evaluation import evaluate, hidden_before_choice, states_before_choice, token_rows
from dyngen_agents.sb3.policy import LMActorCritic
from dyngen_agents.sb3.segments import find_spans, gather, pack, scatter
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.lm.loading.fingerprint import check_unchanged
from dyngen_env.lm.loading.models import load_model

SEGMENTS_AT_A_TIME = 64  # bounds the reference's memory


class KLPenalty(BaseCallback):
    """The KL penalty of Ziegler et al. 2019, eq. 2, spread over the tokens:

        rₜ ← rₜ − β (log π(aₜ|sₜ) − log π_ref(aₜ|sₜ))

    The callback changes the rewards in the rollout buffer at the end of each rollout, before the update, and computes
    returns and advantages again. Use it as `model.learn(..., callback=KLPenalty(0.05))`, with PPO, A2C or MaskablePPO.
    The episode returns that SB3 logs are those of the env, without the penalty. Logs `rollout/kl`, in nats per token.

    The reference has the policy's temperature, legal tokens and banned words, but neither its top-k nor its top-p: what
    they leave out of one model can be what the other chose, at an infinite penalty.

    Args:
        coef: β, in units of reward per nat.
        ref_model: the name of the reference model, which must have the policy's tokens. None takes the model that the
            policy began with.

    Raises:
        ValueError: β is negative, the reference has fewer tokens than the policy, or it is the model that the policy
            began with and has changed on disk since.
        TypeError: the run's policy is not an `LMActorCriticPolicy`, nor its maskable sibling.
    """

    def __init__(self, coef: float, ref_model: str | None = None):
        super().__init__()
        if not 0 <= coef < float("inf"):
            raise ValueError(f"coef is {coef}, expected a finite number, zero or above")
        self.coef, self.ref_model = coef, ref_model
        self._reference: CausalLMPolicy | None = None

    def _init_callback(self) -> None:
        policy = self.model.policy
        if not isinstance(policy, LMActorCritic):
            raise TypeError(f"KLPenalty needs an LMActorCriticPolicy, the run has a {type(policy).__name__}")
        if self.ref_model is None and policy.model_fingerprint is not None:
            check_unchanged(policy.model_name, policy.model_fingerprint, "this policy began with it")
        lm = load_model(self.ref_model or policy.model_name, device=self.model.device)
        sampling = SamplingConfig(temperature=policy.sampling.temperature)
        distribution = policy.lm_policy.distribution.with_sampling(sampling)
        self._reference = CausalLMPolicy(lm, distribution).requires_grad_(False)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model, buffer = self.model, self.model.rollout_buffer  # type: ignore[attr-defined]
        kl = buffer.log_probs - self._reference_logprobs(buffer)  # (T, E)
        buffer.rewards -= self.coef * kl
        with torch.no_grad():
            last_values = model.policy.predict_values(obs_as_tensor(model._last_obs, model.device))  # type: ignore
        buffer.compute_returns_and_advantage(last_values, dones=model._last_episode_starts)
        self.logger.record("rollout/kl", float(kl.mean()))

    @torch.no_grad()
    def _reference_logprobs(self, buffer) -> np.ndarray:
        """(T, E): of the actions in any of SB3's rollout buffers, by segments."""
        observations = buffer.observations
        if isinstance(observations, dict):
            tokens = token_rows({key: torch.from_numpy(value) for key, value in observations.items()}).numpy()
        else:
            tokens = observations
        out = np.empty_like(buffer.log_probs)
        spans = find_spans(tokens, buffer.episode_starts)
        reference, device = self._reference, self.model.device
        assert reference is not None
        for i in range(0, len(spans), SEGMENTS_AT_A_TIME):
            some = spans[i : i + SEGMENTS_AT_A_TIME]
            masks = gather(buffer.action_masks, some) if hasattr(buffer, "action_masks") else None
            actions = torch.as_tensor(gather(buffer.actions, some), device=device)
            segments = pack(tokens, some, device)
            hidden = hidden_before_choice(reference.lm, segments)
            states = states_before_choice(reference.distribution, segments)
            logprobs = evaluate(reference, hidden, states, actions, masks)[0].numpy(force=True)
            scatter(logprobs, some, into=out)
        return out
