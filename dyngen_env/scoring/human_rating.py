"""Predicts the rating that people would give a text about a film or product, by a linear model of its n-grams.

It was trained on sentences that were rated by 15 to 29 people each, see `dyngen_env/assets/README.md`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

import dyngen_env.assets
from dyngen_env.scoring.text_features import GRAMS, SIZE, features
from dyngen_env.text.saved_arrays import saved_arrays

PATH = Path(dyngen_env.assets.__file__).with_name("human-rating.npz")


class LinearRating:
    """A linear model of ratings: ŷ = b + wᵀx, with x the features of a text (`text_features.features`).

    Args:
        weights: (SIZE,), w.
        idf: (GRAMS,), the weight of each n-gram within the features; 0 for those that are not used.
        bias: b.
    """

    def __init__(self, weights: np.ndarray, idf: np.ndarray, bias: float):
        self.weights, self.idf, self.bias = weights, idf, bias

    def __call__(self, text: str) -> float:
        places, values = features(text, self.idf)
        return self.bias + float(self.weights[places] @ values)

    def save(self, path: Path) -> None:
        """Write the weights that are not zero, in float16, to an `.npz` file."""
        used = np.flatnonzero(self.idf)
        np.savez_compressed(
            path,
            gaps=np.diff(used, prepend=0).astype(np.uint16 if np.diff(used, prepend=0).max() < 2**16 else np.uint32),
            idf=self.idf[used].astype(np.float16),
            weights=self.weights[used].astype(np.float16),
            scores=self.weights[GRAMS:],
            bias=np.array(self.bias),
        )

    @classmethod
    def load(cls, path: Path) -> LinearRating:
        """Read what `save` has written.

        Raises:
            FileNotFoundError: no such file.
            ValueError: `save` has not written this file.
        """
        names = ("gaps", "idf", "weights", "scores", "bias")
        remedy = "`python -m dyngen_agents.reward_models.preferences` and `.ratings` write one"
        saved = saved_arrays(path, names, "linear model of texts", remedy)
        weights, idf = np.zeros(SIZE, dtype=np.float32), np.zeros(GRAMS, dtype=np.float32)
        used = saved["gaps"].astype(np.int64).cumsum()
        idf[used], weights[used], weights[GRAMS:] = saved["idf"], saved["weights"], saved["scores"]
        return cls(weights, idf, float(saved["bias"]))


def human_rating(text: str) -> float:
    """The predicted mean of the ratings that people would give a text: -4 (very negative) to +4 (very positive)."""
    return min(4.0, max(-4.0, _embedded()(text)))


@cache
def saved_rating(path: str) -> LinearRating:
    """The model in a file, read once for all who ask. Errors are those of `LinearRating.load`."""
    return LinearRating.load(Path(path).expanduser())


@cache
def _embedded() -> LinearRating:
    return LinearRating.load(PATH)
