"""How good the completion feels to a reader: VADER's compound score."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward, pay_turns
from dyngen_env.scoring.sentiment import vader
from dyngen_env.types import Transition


class Sentiment(Reward):
    """VADER compound in [-1, 1] of the turn's completion (Hutto and Gilbert, ICWSM 2014)."""

    name = "sentiment"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [vader(text) for text in transition.completions])
