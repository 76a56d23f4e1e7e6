"""Small pictures and sounds, and users who show them, for tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dyngen_env import Example, Feedback, Picture, Sound
from dyngen_env.text.media import NO_MEDIA, MediaRoom


def picture(seed: int, size: tuple[int, int] = (32, 32)) -> Picture:
    return Picture(np.random.default_rng(seed).integers(256, size=(*size, 3), dtype=np.uint8))


def tone(seed: int, seconds: float = 0.2) -> Sound:
    at = np.arange(round(16000 * seconds)) / 16000
    return Sound((0.5 * np.sin(2 * np.pi * (300 + 100 * seed) * at)).astype(np.float32))


EXAMPLES = [Example("ab", media=(picture(0),)), Example("xyz", media=(picture(1),)), Example("words alone")]


@dataclass
class Shows:
    """A user whose turn i is answered by `replies[i]`, media included; after the last it repeats."""

    replies: tuple[Feedback, ...]
    media: MediaRoom = NO_MEDIA
    answers: bool = True

    def begin(self, examples, rngs):
        return [None] * len(examples)

    def reply(self, dialogues, rngs):
        return [self.replies[min(len(d.completions), len(self.replies)) - 1] for d in dialogues]


SPEAKS = MediaRoom(sounds=1, seconds=0.5)
