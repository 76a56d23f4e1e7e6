"""The wrappers of single envs: each shows an env through a view, see `wrappers.views`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import RecordConstructorArgs

from dyngen_env.envs.observations import row_of
from dyngen_env.wrappers.views import LM, Candidates, Features, View, ranks


class SingleView(gym.Wrapper, RecordConstructorArgs):
    """A single env whose observations are shown by a view.

    Args:
        view: makes the observations, and adds to the infos.
        constructor: the arguments that `env.spec` keeps, so that the wrapper can be made again.
    """

    def __init__(self, env: gym.Env, view: View, **constructor: Any):
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **constructor)
        super().__init__(env)
        self.view, self.observation_space = view, view.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self._shown(*self.env.reset(seed=seed, options=options))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation, info = self._shown(observation, info)
        return observation, reward, terminated, truncated, info

    def _shown(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        batch = {k: v[None] for k, v in observation.items()} if isinstance(observation, dict) else observation[None]
        shown, more = self.view(batch)
        return row_of(shown, 0), info | {key: value[0].copy() for key, value in more.items()}


class SingleTopK(SingleView):
    """`TopKActions` of a single env."""

    def __init__(self, env: gym.Env, lm: LM, k: int = 8, device: str = "cpu", show_candidates: bool = False):
        view = Candidates(env, lm, k, device, show_candidates)
        super().__init__(env, view, lm=lm, k=k, device=device, show_candidates=show_candidates)
        self.action_space = spaces.Discrete(k)
        self._ids: np.ndarray | None = None  # (k,)

    def action_masks(self) -> np.ndarray:
        """(k,) bool, all True."""
        return np.ones(self.view.k, dtype=bool)  # type: ignore[attr-defined]

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._ids is None:
            raise ResetNeeded("the env has not been reset: call reset() first")
        rank = ranks(np.asarray(action)[None], len(self._ids), ignored=np.zeros(1, dtype=bool))
        return super().step(int(self._ids[rank[0]]))

    def _shown(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        observation, info = super()._shown(observation, info)
        self._ids = info["candidates"].copy()
        return observation, info


class SingleFeatures(SingleView):
    """`LMFeatures` of a single env."""

    def __init__(self, env: gym.Env, lm: LM, device: str = "cpu"):
        super().__init__(env, Features(env, lm, device), lm=lm, device=device)
