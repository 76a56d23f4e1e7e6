"""What people would rate a text about a film or product: a linear model of n-grams, trained on human ratings."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

import dyngen_env.assets
from dyngen_env.scoring.text_features import GRAMS, SIZE, features

PATH = Path(dyngen_env.assets.__file__).with_name("human-rating.npz")


class LinearRating:
    """ŷ = b + wᵀx, with x from `text_features.features`.

    Args:
        weights: (SIZE,). idf: (GRAMS,), 0 for n-grams that are not used. bias: b.
    """

    def __init__(self, weights: np.ndarray, idf: np.ndarray, bias: float):
        self.weights, self.idf, self.bias = weights, idf, bias

    def __call__(self, text: str) -> float:
        places, values = features(text, self.idf)
        return self.bias + float(self.weights[places] @ values)

    def save(self, path: Path) -> None:
        """What is not zero, in float16."""
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
        """The inverse of `save`.

        Raises:
            FileNotFoundError: no such file. ValueError: it is none that `save` has written.
        """
        with np.load(path) as saved:
            missing = {"gaps", "idf", "weights", "scores", "bias"} - set(saved.files)
            if missing:
                raise ValueError(f"{path} has no {', '.join(sorted(missing))}: expected a file of `LinearRating.save`")
            weights, idf = np.zeros(SIZE, dtype=np.float32), np.zeros(GRAMS, dtype=np.float32)
            used = saved["gaps"].astype(np.int64).cumsum()
            idf[used], weights[used], weights[GRAMS:] = saved["idf"], saved["weights"], saved["scores"]
            return cls(weights, idf, float(saved["bias"]))


def human_rating(text: str) -> float:
    """The mean rating that people would give, -4 (very negative) to +4 (very positive)."""
    return min(4.0, max(-4.0, _embedded()(text)))


@cache
def saved_rating(path: str) -> LinearRating:
    """The model in a file. Raises as `LinearRating.load`."""
    return LinearRating.load(Path(path))


@cache
def _embedded() -> LinearRating:
    return LinearRating.load(PATH)
