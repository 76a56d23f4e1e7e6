"""Whether the completion is free of profanity and of words that somebody has named."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.profanity import mentions_any, swears
from dyngen_env.types import Transition


class Safety(Reward):
    """-1 if the turn's completion has a swear word, also a disguised one such as "sh1t", or one of `words`; else 0.

    It goes by lists of words and does not judge what is meant. It is a price, which the agent can choose to pay; the
    env's keyword `banned` makes words illegal.

    Args:
        words: more words that must not occur.

    Raises:
        ImportError: the package `pyobscenity` (extra `safety`) is not installed.
        ValueError: a word is empty.
    """

    name = "safety"

    def __init__(self, *words: str):
        if not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError(f"safety takes words, such as safety('spoiler'); got {words!r}")
        swears("so that a missing package shows at once")
        self.words = words

    def __call__(self, transition: Transition) -> torch.Tensor:
        unsafe = [swears(text) or mentions_any(text, self.words) for text in transition.completions]
        return -pay_turns(transition, unsafe)
