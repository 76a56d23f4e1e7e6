"""How much the completion says again; subtract it."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward, pay_turns
from dyngen_env.scoring.diversity import repeated_share
from dyngen_env.types import Transition


class Repetition(Reward):
    """The share of word n-grams of the turn's completion that occurred in it before, in [0, 1).

    Raises:
        ValueError: n < 1.
    """

    name = "repetition"

    def __init__(self, n: int = 2):
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"repetition needs n-grams of at least 1 word, got {n!r}")
        self.n = n

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [repeated_share(text, self.n) for text in transition.completions])
