"""A causal language model as the policy of an unmodified Stable-Baselines3 PPO or A2C.

    PPO(LMActorCriticPolicy, env, gamma=1.0, policy_kwargs=dict(model="reviews-lm"),
        rollout_buffer_class=SegmentRolloutBuffer)

SB3 passes whole observations; the engine (`dyngen_env.lm.engine`) recognises what is new in them and runs only that, so
a rollout decodes with a key-value cache although SB3 knows of none. Dropout is off in any mode: it would make the
log-probs of rollout and update differ by 0.3 nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.sb3.evaluation import (
    Observations,
    evaluate,
    hidden_before_choice,
    masked_logits,
    states_before_choice,
    token_rows,
)
from dyngen_agents.sb3.segments import Segments
from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution
from dyngen_env.lm.loading.fingerprint import fingerprint
from dyngen_env.lm.loading.models import context_window, load_config, load_model, load_tokenizer
from dyngen_env.lm.sampling import greedy, sample
from dyngen_env.text.huggingface import adapted


class LMActorCritic:
    """The common part of SB3's policy and sb3-contrib's maskable one: a mixin to be placed before either.

    Args:
        observation_space, action_space: those of the env, with `observation="tokens"` or "dict".
        lr_schedule: the learning rate by progress, as SB3 passes it.
        model: the name of the language model, as for `dyngen_env.lm.load_model`. Beside the weights only the name is
            saved, so a saved agent needs the model in the same place.
        sampling: temperature, top-k and top-p of the distribution that is drawn from and learned. The words that the
            env bans come with its action space.
        use_sde: not used. PPO and A2C always pass it, and refuse it themselves for discrete actions.
        optimizer_class, optimizer_kwargs: as for SB3's own policies.

    Raises:
        ValueError: the spaces are not those of an env with this model's tokens, or temperature is 0; the message says
            what to change. In `forward`: the observations are not tokens, because of VecNormalize for example.
    """

    lm_policy: CausalLMPolicy
    # What the other base class brings:
    observation_space: spaces.Space
    action_space: spaces.Space
    action_dist: Any
    optimizer_class: type[torch.optim.Optimizer]
    optimizer_kwargs: dict[str, Any]
    _dummy_schedule: Any

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        model: str = "reviews-lm",
        sampling: SamplingConfig | None = None,
        use_sde: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ):
        _check_spaces(observation_space, action_space, model)
        self.model_name, self.sampling = model, sampling or SamplingConfig()
        self.sampling.require_chance()
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,  # type: ignore[call-arg]
            net_arch=[],
            ortho_init=False,  # it would initialise the language model anew
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        tokenizer, banned = adapted(load_tokenizer(self.model_name)), getattr(self.action_space, "banned", ())
        distribution = TokenDistribution.of(tokenizer, self.sampling, banned)
        self.lm_policy = CausalLMPolicy(load_model(self.model_name, fresh=True), distribution)
        self.model_fingerprint: str | None = fingerprint(self.model_name)
        parameters = self.lm_policy.parameters()
        self.optimizer = self.optimizer_class(parameters, lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return dict(
            observation_space=self.observation_space,
            action_space=self.action_space,
            lr_schedule=self._dummy_schedule,
            model=self.model_name,
            sampling=self.sampling,
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
        )

    def get_extra_state(self) -> str | None:
        """What is saved beside the weights: the fingerprint of the model that training began with."""
        return self.model_fingerprint

    def set_extra_state(self, state: str | None) -> None:
        """The inverse of `get_extra_state`; None in files of version 0.1, which did not save it."""
        self.model_fingerprint = state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's own, for the files of version 0.1, too."""
        return super().load_state_dict({"_extra_state": None, **state_dict}, strict, assign)  # type: ignore[misc]

    def set_training_mode(self, mode: bool) -> None:
        """Drop the key-value cache before the weights change. Dropout stays off in either mode."""
        super().set_training_mode(mode)  # type: ignore[misc]
        if mode:
            self.lm_policy.engine.invalidate()

    def forward(
        self, obs: Observations, deterministic: bool = False, action_masks: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choose tokens (B,); return them with values (B, 1) and log-probs (B,).

        Samples with torch's global generator, as SB3's own policies do.
        """
        hidden = self._hidden(obs)
        logits = self._logits(hidden, obs, action_masks)
        tokens, logprobs = greedy(logits) if deterministic else sample(logits, torch.rand_like(logits[:, 0]))
        return tokens, self.lm_policy.value(hidden).unsqueeze(1), logprobs

    def evaluate_actions(
        self, obs: Observations, actions: Tensor, action_masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values (N, 1), log-probs (N,) and entropies (N,) of N steps, by one forward pass over `obs`.

        From a `SegmentRolloutBuffer`, `obs` holds whole segments; from SB3's own buffer, every prefix by itself.
        """
        hidden = self._hidden(obs)
        states = states_before_choice(self.lm_policy.distribution, obs)
        logprobs, entropies = evaluate(self.lm_policy, hidden, states, actions, action_masks)
        return self.lm_policy.value(hidden).unsqueeze(1), logprobs, entropies

    def get_distribution(self, obs: Observations, action_masks: np.ndarray | None = None) -> Distribution:
        """The distribution over the next token of B rows, as SB3's own object."""
        return self.action_dist.proba_distribution(action_logits=self._logits(self._hidden(obs), obs, action_masks))

    def predict_values(self, obs: Observations) -> Tensor:
        """Values (B, 1), computed without the cache.

        SB3 calls this for single rows in the middle of a rollout; caching them would evict the rows of the rollout.
        """
        return self.lm_policy.value(hidden_before_choice(self.lm_policy.lm, obs)).unsqueeze(1)

    def _predict(
        self, observation: Observations, deterministic: bool = False, action_masks: np.ndarray | None = None
    ) -> Tensor:
        return self.forward(observation, deterministic, action_masks)[0]

    def _hidden(self, obs: Observations) -> Tensor:
        """Hidden states (N, D) before the choices: from the cache, unless gradients are needed or `obs` is segments."""
        if torch.is_grad_enabled() or isinstance(obs, Segments):
            return hidden_before_choice(self.lm_policy.lm, obs)
        tokens = token_rows(obs)
        return self.lm_policy.engine.next_hidden(tokens, (tokens >= 0).sum(1))

    def _logits(self, hidden: Tensor, obs: Observations, action_masks: np.ndarray | Tensor | None) -> Tensor:
        states = states_before_choice(self.lm_policy.distribution, obs)
        return masked_logits(self.lm_policy.logits(hidden, states), action_masks)


class LMActorCriticPolicy(LMActorCritic, ActorCriticPolicy):  # type: ignore[misc]
    """A causal LM with a value head on its trunk, for PPO and A2C. Arguments and errors: `LMActorCritic`."""


def _check_spaces(observation_space: spaces.Space, action_space: spaces.Space, model: str) -> None:
    known = len(adapted(load_tokenizer(model)))
    if not isinstance(action_space, spaces.Discrete) or action_space.n != known:
        wanted = action_space.n if isinstance(action_space, spaces.Discrete) else action_space
        raise ValueError(
            f"policy {model!r} has {known} tokens, env has {wanted}: give both the same model, "
            f'gym.make(..., model="{model}") and policy_kwargs=dict(model="{model}")'
        )
    if getattr(action_space, "shows_media", False):
        raise ValueError(
            f"the env shows pictures or sounds, and policy {model!r} reads words alone here: train it with "
            'dyngen_agents.train, or let MultiInputPolicy read observation="dict"'
        )
    if isinstance(observation_space, spaces.Dict):
        rows = observation_space.spaces.get("input_ids")
        fits = isinstance(rows, spaces.Box) and "attention_mask" in observation_space.spaces
    else:
        rows = observation_space
        fits = isinstance(rows, spaces.Box) and len(rows.shape) == 1 and rows.low.min() == -1
    if not fits or not np.issubdtype(rows.dtype, np.integer):  # type: ignore[union-attr, arg-type]
        raise ValueError(
            f"policy {model!r} cannot read observations in {observation_space}: expected tokens, "
            f'Box(-1, {known - 1}, (L,), int64). Make the env with observation="tokens" or "dict", without wrappers '
            "that change observations"
        )
    context = getattr(action_space, "context", rows.shape[0])  # type: ignore[union-attr, index]
    if rows.shape[0] != context:  # type: ignore[union-attr, index]
        raise ValueError(
            f"observations have {rows.shape[0]} tokens, those of the env {context}: a wrapper such as VecFrameStack "  # type: ignore[union-attr, index]
            "puts several side by side. Leave it out: each observation holds the whole text so far"
        )
    window = context_window(load_config(model))
    if rows.shape[0] > window:  # type: ignore[union-attr, index]
        raise ValueError(
            f"observations have {rows.shape[0]} tokens, model {model!r} reads at most {window}: "  # type: ignore[union-attr, index]
            f"make the env with max_context_tokens={window} or less"
        )
