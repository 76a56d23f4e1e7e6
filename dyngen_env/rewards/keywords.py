"""Whether the completion mentions what it should."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.keywords import share_mentioned
from dyngen_env.types import Transition


class Keywords(Reward):
    """The share of some words that the turn's completion mentions, in [0, 1].

    Args:
        words: the words or phrases, found whatever their case.

    Raises:
        ValueError: no word was given, or one is empty.
    """

    name = "keywords"
    cheap = True

    def __init__(self, *words: str):
        if not words or not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError(f"keywords needs words, such as keywords('plot', 'acting'); got {words!r}")
        self.words = words

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [share_mentioned(text, self.words) for text in transition.completions])
