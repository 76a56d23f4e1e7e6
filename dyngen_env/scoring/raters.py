"""How people's ratings scatter around what the text deserves, from the human-rated reviews."""

from __future__ import annotations

from bisect import bisect_right
from functools import cache

import numpy as np

from dyngen_env.assets.reviews import load_reviews

LOWEST, HIGHEST = -4, 4
_BINS = np.arange(LOWEST, HIGHEST + 0.5, 0.5)  # (17,) means, to the nearest half


def draw_rating(opinion: float, noise: float, rng: np.random.Generator) -> int:
    """One person's rating, -4 to +4, of a text that deserves `opinion`.

    The error is `noise` times that of a person who rated a review with such a mean (train split): about 0.9 in the
    middle of the scale, less at its ends. At `noise` 0 it is the opinion, rounded.
    """
    rating = opinion
    if noise:
        row = round((opinion - LOWEST) * 2)
        rating += noise * (bisect_right(_cumulative()[row], rng.random()) + LOWEST - float(_BINS[row]))
    return int(min(HIGHEST, max(LOWEST, round(rating))))


@cache
def rating_spread() -> np.ndarray:
    """(17, 9) float64: how often reviews whose mean is nearest to -4, -3.5, ..., +4 were rated -4, -3, ..., +4."""
    counts = np.zeros((len(_BINS), HIGHEST - LOWEST + 1))
    for review in load_reviews("train"):
        counts[round((review.mean - LOWEST) * 2)] += np.bincount(np.array(review.ratings) - LOWEST, minlength=9)
    return counts / counts.sum(1, keepdims=True)


@cache
def _cumulative() -> list[list[float]]:
    """For each mean the probability of at most -4, ..., +3."""
    return rating_spread().cumsum(1)[:, :-1].tolist()
