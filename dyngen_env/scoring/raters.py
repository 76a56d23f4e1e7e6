"""How people's ratings of one text scatter around their mean, measured on the human-rated reviews.

Simulated users draw their ratings from it, so that they disagree as people do.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache

import numpy as np

from dyngen_env.assets.reviews import load_reviews

LOWEST, HIGHEST = -4, 4
_BINS = np.arange(LOWEST, HIGHEST + 0.5, 0.5)  # (17,) means, to the nearest half


def draw_rating(opinion: float, noise: float, rng: np.random.Generator) -> int:
    """The rating that one simulated person gives: an integer from -4 to +4.

    Args:
        opinion: what people would give on average, -4 to +4.
        noise: how much this person errs. 1 is as much as the people who rated reviews with such a mean (training
            split): about 0.9 in the middle of the scale, less at its ends. 0 gives the rounded opinion.
        rng: where the chance comes from.
    """
    rating = opinion
    if noise:
        row = round((opinion - LOWEST) * 2)
        rating += noise * (bisect_right(_cumulative()[row], rng.random()) + LOWEST - float(_BINS[row]))
    return int(min(HIGHEST, max(LOWEST, round(rating))))


@cache
def rating_spread() -> np.ndarray:
    """How people rated reviews of a given mean: (17, 9) float64, rows that sum to 1.

    Row i is for reviews whose mean is nearest to -4, -3.5, ..., +4; column j the share of ratings -4, -3, ..., +4.
    """
    counts = np.zeros((len(_BINS), HIGHEST - LOWEST + 1))
    for review in load_reviews("train"):
        counts[round((review.mean - LOWEST) * 2)] += np.bincount(np.array(review.ratings) - LOWEST, minlength=9)
    return counts / counts.sum(1, keepdims=True)


@cache
def _cumulative() -> list[list[float]]:
    """For each mean the probability of at most -4, ..., +3."""
    return rating_spread().cumsum(1)[:, :-1].tolist()
