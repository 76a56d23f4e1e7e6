"""A reward kept within bounds."""

from __future__ import annotations

from math import isfinite
from typing import Any

import torch

from dyngen_env.rewards.transforms.wrapped import Wrapped
from dyngen_env.types import Transition


class Clip(Wrapped):
    """min(high, max(low, r)) of each payment: of each turn's, or of each token's if the reward pays by token.

    A sum becomes one term.

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

    def __call__(self, transition: Transition) -> torch.Tensor:
        paid = self.inner(transition).clamp(self.low, self.high)
        # Where no turn ended nothing was paid, and 0 may be out of bounds.
        return torch.where(transition.live if self.per_token else transition.turn_ended, paid, 0.0)
