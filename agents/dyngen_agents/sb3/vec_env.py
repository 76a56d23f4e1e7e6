"""A batched Gymnasium env as a Stable-Baselines3 VecEnv: as DummyVecEnv over single envs, but without its loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from dyngen_env.envs.infos import info_of_row


def as_sb3_vec_env(env: VectorEnv) -> SB3VecEnv:
    """Adapt a batched env for any algorithm of Stable-Baselines3.

        as_sb3_vec_env(gym.make_vec("dyngen/Sentiment-v0", num_envs=8, autoreset_mode="same_step"))

    Trajectories and infos (`terminal_observation` and `TimeLimit.truncated` included) equal those of `DummyVecEnv` over
    single envs with the same seeds. For episode statistics wrap the result in SB3's `VecMonitor`, or `env` in
    Gymnasium's `RecordEpisodeStatistics`.

    Raises:
        ValueError: the env is not batched, resets in another mode than SAME_STEP, or returns tensors.
    """
    return SB3VecEnv(env)


class SB3VecEnv(VecEnv):
    """The VecEnv that `as_sb3_vec_env` returns."""

    def __init__(self, env: VectorEnv):
        if not isinstance(env, VectorEnv):
            raise ValueError(f"expected a batched env, got {type(env).__name__}: make it with gym.make_vec")
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(
                f"the env resets in mode {getattr(mode, 'value', mode)}, Stable-Baselines3 needs the observation after "
                'a reset in the step that ended the episode: gym.make_vec(..., autoreset_mode="same_step")'
            )
        if getattr(env.unwrapped, "output", "numpy") != "numpy":
            raise ValueError('the env has output="torch", Stable-Baselines3 needs arrays: make it with output="numpy"')
        self.env = env  # before VecEnv.__init__, which asks for `render_mode`
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._actions = np.zeros(env.num_envs, dtype=np.int64)

    def reset(self) -> VecEnvObs:
        seeds = None if all(seed is None for seed in self._seeds) else self._seeds
        observations, infos = self.env.reset(seed=seeds, options=_joint_options(self._options))  # type: ignore[arg-type]
        self.reset_infos = [info_of_row(infos, row) for row in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        dones = terminated | truncated
        final, last = infos.pop("final_obs", None), infos.pop("final_info", {})
        out = [info_of_row(last if done else infos, row) for row, done in enumerate(dones)]
        for row, info in enumerate(out):
            info["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
            if dones[row]:
                info["terminal_observation"] = final[row]
                self.reset_infos[row] = info_of_row(infos, row)
                if "episode" in self.reset_infos[row]:  # RecordEpisodeStatistics writes it beside the reset's infos
                    info["episode"] = self.reset_infos[row].pop("episode")
        return observations, rewards.astype(np.float32), dones, out

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of the batched env, repeated for each row in `indices`."""
        return [self._find(attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the batched env, which all rows share.

        Raises:
            ValueError: `indices` names only some rows.
        """
        if len(set(self._get_indices(indices))) < self.num_envs:
            raise ValueError(f"{attr_name!r} is set for all rows of a batched env at once: leave indices out")
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args, indices: VecEnvIndices = None, **method_kwargs) -> list[Any]:
        """Call `action_masks` or `render` for single rows.

        Raises:
            AttributeError: any other method: the rows of a batched env have no methods of their own.
        """
        rows = list(self._get_indices(indices))
        if method_name == "action_masks":
            masks = self._find(method_name)()
            masks = np.broadcast_to(masks, (self.num_envs, masks.shape[-1]))
            return [masks[row].copy() for row in rows]
        if method_name == "render":
            frames = self.env.render()
            return [frames[row] if frames else None for row in rows]
        raise AttributeError(f"{method_name!r} cannot be called for single rows of a batched env: use .env.unwrapped")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        wrapped = any(isinstance(layer, wrapper_class) for layer in self._layers())
        return [wrapped for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        return self.env_method("render") if self.render_mode == "rgb_array" else [None] * self.num_envs

    def _layers(self) -> Iterator[Any]:
        layer: Any = self.env
        while isinstance(layer, VectorWrapper):
            yield layer
            layer = layer.env
        yield layer

    def _find(self, name: str) -> Any:
        """An attribute of the outermost layer that has it: vector wrappers do not pass on what they do not know."""
        for layer in self._layers():
            if hasattr(layer, name):
                return getattr(layer, name)
        raise AttributeError(f"{self.env} has no attribute {name!r}")


def _joint_options(options: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The options of all rows as one batched env takes them: each a list with one entry for each row."""
    names = set(options[0])
    if any(set(row) != names for row in options):
        raise ValueError(f"rows have different reset options ({options}): give every row the same names")
    return {name: [row[name] for row in options] for name in sorted(names)} or None
