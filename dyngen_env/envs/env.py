"""TextGenEnv: one token MDP, numpy in and out. A one-row view of TextGenVectorEnv, so there is one implementation."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from dyngen_env.envs.infos import info_of_row
from dyngen_env.envs.keywords import documented
from dyngen_env.envs.options import EnvOptions, options_from
from dyngen_env.envs.rendering import READING_FPS, RENDER_MODES
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution


@documented(EnvOptions)
class TextGenEnv(gym.Env):
    """Text generation as an MDP: the observation is the tokens so far, an action is the next token.

    Args:
        {keywords}

    Attributes:
        batch: the `TextGenVectorEnv` of one row that does the work.

    Raises:
        ValueError: any keyword that cannot work, at construction; the message says which, and what to do.
        TypeError: an unknown keyword.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": READING_FPS}

    def __init__(self, **keywords: Any):
        options = options_from(EnvOptions, type(self), keywords)
        self.batch = TextGenVectorEnv(1, autoreset_mode=AutoresetMode.DISABLED, **vars(options))
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space
        self.tokenizer = self.batch.tokenizer
        self.render_mode = options.render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode. Options: `prompt` (str) or `example` (int) choose what is played."""
        super().reset(seed=seed)
        if self.np_random is not self.batch.np_random[0]:
            self.batch.reseed(0, self.np_random, seed)
        observations, infos = self.batch.reset(options=options)
        self._show()
        return _first(observations), info_of_row(infos, 0)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Append a token; at the episode's end the info says why, what was written and what was paid.

        Raises:
            ResetNeeded: before the first reset, and after an end.
            ValueError: the action is no integer in [0, V); nothing is changed.
        """
        if self.batch.over:
            raise ResetNeeded("the episode has ended: call reset() before the next step()")
        one = action if isinstance(action, torch.Tensor) else np.asarray(action)
        if one.ndim:
            raise ValueError(f"action has shape {tuple(one.shape)}: expected one token, an integer")
        observations, rewards, terminated, truncated, infos = self.batch.step(one[None])
        self._show()
        over = bool(terminated[0]), bool(truncated[0])
        return _first(observations), float(rewards[0]), *over, info_of_row(infos, 0)

    def action_masks(self) -> np.ndarray:
        """(V,) bool: the legal tokens (the name that sb3-contrib's MaskablePPO looks for)."""
        return self.batch.action_masks().reshape(-1, len(self.tokenizer))[0]

    def token_distribution(self, sampling: SamplingConfig | None = None) -> TokenDistribution:
        """See `TextGenVectorEnv.token_distribution`."""
        return self.batch.token_distribution(sampling)

    def fork(self, reseed: int | None = None) -> TextGenEnv:
        """A copy of this env that will do what this one does, given the same actions; see TextGenVectorEnv.fork."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.batch = self.batch.fork([0], reseed)
        twin._np_random, twin._np_random_seed = twin.batch.np_random[0], twin.batch.np_random_seed[0]
        return twin

    def render(self) -> Any:
        """The current frame: text in mode "ansi", an (H, W, 3) uint8 array in "rgb_array"; None in "human"."""
        frames = self.batch.render() if self.render_mode != "human" else None
        return frames[0] if frames else None

    def _show(self) -> None:
        if self.render_mode == "human":
            self.batch.render()


def _first(observations: Any) -> Any:
    if isinstance(observations, dict):
        return {key: value[0] for key, value in observations.items()}
    return observations[0]
