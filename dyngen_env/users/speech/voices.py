"""The voices that speak: those that agents may learn with, and those that they have never heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# An accent of espeak-ng and one of its variants, men's (m) and women's (f). No accent or variant of EVAL is in TRAIN.
TRAIN = (
    "en-us+f2",
    "en-us+m2",
    "en-us+f5",
    "en-gb+m7",
    "en-gb+f4",
    "en-gb-scotland+m1",
    "en-gb-x-rp+f1",
    "en-gb-x-gbclan+m4",
)
EVAL = ("en-029+f3", "en-029+m5", "en-gb-x-gbcwmd+m8", "en-gb-x-gbcwmd+linda")
SETS = {"train": TRAIN, "eval": EVAL}

SPREAD = 0.1  # speed and pitch differ by up to this share from a voice's own


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who is heard.

    Attributes:
        voice: a name of a voice. speed, pitch: factors of how fast and how high it speaks by itself.
    """

    voice: str
    speed: float = 1.0
    pitch: float = 1.0


def voices_named(voices: str | Sequence[str]) -> tuple[str, ...]:
    """The voices of a set, "train" or "eval", or those that are listed.

    Raises:
        ValueError: no such set, or an empty list.
    """
    if isinstance(voices, str) and voices not in SETS:
        raise ValueError(f"voices={voices!r}: expected 'train', 'eval', or a list of names such as {TRAIN[0]!r}")
    named = SETS[voices] if isinstance(voices, str) else tuple(voices)
    if not named:
        raise ValueError("voices=[]: expected at least one name of a voice")
    return named


def draw_speaker(voices: Sequence[str], rng: np.random.Generator) -> Speaker:
    """One of the voices, up to SPREAD faster or slower and, apart from that, higher or lower than it is."""
    voice = voices[int(rng.random() * len(voices))]
    speed, pitch = (1 + SPREAD * rng.uniform(-1, 1, 2)).tolist()
    return Speaker(voice, speed, pitch)
