"""A reward kept within bounds."""

from __future__ import annotations

from math import isfinite
from typing import Any

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.transforms.wrapped import Wrapped
from dyngen_env.types import Transition


class Clip(Wrapped):
    """Another reward, of which each payment r is cut to min(high, max(low, r)).

    A payment is that of a turn, or of a token if the reward pays by token. A sum within the brackets is cut as a whole
    and becomes one term.

    Args:
        reward: a reward, a number or a function of text. low, high: the bounds.

    Raises:
        ValueError: low is not less than high.
    """

    label = "clip({})"

    def __init__(self, reward: Any, low: float = -1.0, high: float = 1.0):
        super().__init__(reward)
        bounds = (low, high)
        if not all(isinstance(b, int | float) and isfinite(b) for b in bounds) or low >= high:
            raise ValueError(f"clip to [{low!r}, {high!r}]: expected two numbers, the lower one first")
        self.low, self.high = low, high

    def _take(self, inner: Reward) -> None:
        super()._take(inner)
        self.on_tokens = inner.on_tokens

    def __call__(self, transition: Transition) -> torch.Tensor:
        paid = self.inner(transition).clamp(self.low, self.high)
        # Where no turn ended nothing was paid, and 0 may be out of bounds.
        return torch.where(transition.live if self.per_token else transition.turn_ended, paid, 0.0)
