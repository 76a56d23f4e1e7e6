"""How easy the completion is to read."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.readability import reading_ease
from dyngen_env.types import Transition


class Readability(Reward):
    """The Flesch reading ease of the turn's completion divided by 100 and cut to [0, 1].

    Very easy English has 1, plain English 0.6, difficult English 0.3; a completion without a word has 0.
    """

    name = "readability"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [min(1.0, max(0.0, reading_ease(t) / 100)) for t in transition.completions])
