"""How easy the completion is to read."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward, pay_turns
from dyngen_env.scoring.readability import reading_ease
from dyngen_env.types import Transition


class Readability(Reward):
    """Flesch reading ease of the turn's completion over 100, in [0, 1]: 1 is very easy, 0.6 plain, 0.3 hard English.

    0 for a completion without a word.
    """

    name = "readability"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [min(1.0, max(0.0, reading_ease(t) / 100)) for t in transition.completions])
