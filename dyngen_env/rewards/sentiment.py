"""How positive the completion sounds: VADER's compound score."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.sentiment import vader
from dyngen_env.types import Transition


class Sentiment(Reward):
    """VADER's compound score of the turn's completion: from -1, very negative, to 1, very positive (Hutto and Gilbert,
    ICWSM 2014). It is a lexicon with rules, so it needs no model and no training.
    """

    name = "sentiment"
    cheap = True

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [vader(text) for text in transition.completions])
