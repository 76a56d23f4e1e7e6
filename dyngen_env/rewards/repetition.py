"""How much of the completion repeats what it has said before: a penalty, to be subtracted."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.diversity import repeated_share
from dyngen_env.types import Transition


class Repetition(Reward):
    """The share of the word n-grams of the turn's completion that occur earlier in it, in [0, 1). Subtract it: a text
    that repeats itself has more.

    Args:
        n: how many words an n-gram has.

    Raises:
        ValueError: n is less than 1.
    """

    name = "repetition"
    cheap = True

    def __init__(self, n: int = 2):
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"repetition needs n-grams of at least 1 word, got {n!r}")
        self.n = n

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [repeated_share(text, self.n) for text in transition.completions])
