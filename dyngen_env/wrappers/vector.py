"""The wrappers of batched envs: one forward pass shows all rows, in each of Gymnasium's autoreset modes."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from dyngen_env.envs.observations import row_of
from dyngen_env.wrappers.views import LM, Candidates, Features, View, ranks


class VectorView(VectorWrapper):
    """A batched env whose observations are shown by a view, see `wrappers.views`."""

    def __init__(self, env: VectorEnv, view: View):
        super().__init__(env)
        self.view, self.single_observation_space = view, view.space
        self.observation_space = batch_space(view.space, self.num_envs)
        self.autoreset_mode = self.metadata.get("autoreset_mode")  # where TorchRL looks

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self._shown(*self.env.reset(seed=seed, options=options))

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        observations, infos = self._shown(observations, infos)
        return observations, rewards, terminated, truncated, infos

    def _shown(self, observations: Any, infos: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if "final_obs" in infos:
            infos = infos | self._final(observations, infos)
        shown, more = self.view(observations)
        return shown, infos | _masked(more, np.ones(self.num_envs, dtype=bool))

    def _final(self, observations: Any, infos: dict[str, Any]) -> dict[str, Any]:
        """`final_obs` and `final_info` of the rows that a SAME_STEP reset has just replaced.

        All rows are read as they were before the reset: one token more than in the last step, and the rest is cached.
        """
        ended, final = infos["_final_obs"], np.full(self.num_envs, None, dtype=object)
        rows = ended.nonzero()[0]
        shown, more = self.view(_with_rows(observations, rows, infos["final_obs"][rows]))
        for row in rows:
            final[row] = row_of(shown, row)
        return {"final_obs": final, "final_info": infos["final_info"] | _masked(more, ended)}


class VectorTopK(VectorView):
    """`TopKActions` of a batched env."""

    def __init__(self, env: VectorEnv, lm: LM, k: int = 8, device: str = "cpu", show_candidates: bool = False):
        super().__init__(env, Candidates(env, lm, k, device, show_candidates))
        self.single_action_space = spaces.Discrete(k)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._ids: np.ndarray | None = None  # (B, k)
        self._over = np.zeros(self.num_envs, dtype=bool)  # rows whose next action does not matter

    def action_masks(self) -> np.ndarray:
        """(k,) bool, all True."""
        return np.ones(self.view.k, dtype=bool)  # type: ignore[attr-defined]

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        out = super().reset(seed=seed, options=options)
        self._over = np.zeros(self.num_envs, dtype=bool)
        return out

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        if self._ids is None:
            raise ResetNeeded("the env has not been reset: call reset() first")
        rank = ranks(np.asarray(actions), self._ids.shape[1], ignored=self._over)
        out = super().step(np.take_along_axis(self._ids, rank[:, None], axis=1)[:, 0])
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            self._over = out[2] | out[3]
        return out

    def _shown(self, observations: Any, infos: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        observations, infos = super()._shown(observations, infos)
        self._ids = infos["candidates"].copy()
        return observations, infos


class VectorFeatures(VectorView):
    """`LMFeatures` of a batched env."""

    def __init__(self, env: VectorEnv, lm: LM, device: str = "cpu"):
        super().__init__(env, Features(env, lm, device))


def _masked(more: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, np.ndarray]:
    """Info entries (B, n) with their masks, zero where the mask is False."""
    out: dict[str, np.ndarray] = {}
    for key, value in more.items():
        out |= {key: np.where(mask[:, None], value, 0), f"_{key}": mask.copy()}
    return out


def _with_rows(observations: Any, rows: np.ndarray, replaced: np.ndarray) -> Any:
    """A copy of batched observations in which some rows (R,) are others (R,), unbatched."""
    if isinstance(observations, dict):
        return {
            key: _with_rows(value, rows, np.stack([one[key] for one in replaced]))
            for key, value in observations.items()
        }
    out = observations.copy()
    out[rows] = np.stack(list(replaced))
    return out
