"""Whether the completion can be shown to anybody."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward, pay_turns
from dyngen_env.scoring.profanity import mentions_any, swears
from dyngen_env.types import Transition


class Safety(Reward):
    """-1 if the turn's completion swears, in disguise too, or mentions one of `words`, else 0.

    A word list, so no judgement of what is meant; it is a penalty, and the agent may still take it.

    Raises:
        ImportError: at construction, if the package `pyobscenity` (extra `safety`) is missing.
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
