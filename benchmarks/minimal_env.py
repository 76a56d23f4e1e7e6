"""The smallest honest hand-written text env: numpy, one row, what one would write in an afternoon. A peer, not ours."""

from __future__ import annotations

import gymnasium as gym
import numpy as np


class MinimalTextEnv(gym.Env):
    """Append a token until EOS or the budget; the reward is a lookup at the end."""

    def __init__(self, vocabulary: int = 4096, prompt: int = 16, new: int = 48):
        self.observation_space = gym.spaces.Box(-1, vocabulary - 1, (prompt + new,), np.int64)
        self.action_space = gym.spaces.Discrete(vocabulary)
        self.prompt, self.new, self.eos = prompt, new, vocabulary - 1
        self.prompts = np.random.default_rng(0).integers(0, vocabulary, (64, prompt))
        self.worth = np.random.default_rng(1).random(vocabulary)
        self.tokens = np.full(prompt + new, -1)
        self.length = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.tokens[:] = -1
        self.tokens[: self.prompt] = self.prompts[self.np_random.integers(64)]
        self.length = self.prompt
        return self.tokens.copy(), {}

    def step(self, action):
        self.tokens[self.length] = action
        self.length += 1
        over = action == self.eos or self.length == len(self.tokens)
        reward = float(self.worth[self.tokens[self.prompt : self.length]].mean()) if over else 0.0
        return self.tokens.copy(), reward, bool(over), False, {}
