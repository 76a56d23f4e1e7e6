"""Predicts how people would rate a text, and how sure that is: Gaussian process regression on its n-grams.

With the features x of a text (`text_features.features`), the kernel k(x, x') = s² xᵀx', noise of variance σ², and
ratings y of N texts less their mean b (Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", eq. 2.25
and 2.26):

    mean = b + k*ᵀ (K + σ²I)⁻¹ y        var = k(x*, x*) − k*ᵀ (K + σ²I)⁻¹ k*

A text that is unlike all that were rated has a large variance. The same model is a Bayesian linear regression with the
prior w ~ N(0, s²I).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dyngen_env.scoring.linear_fit import Sparse, text_matrix
from dyngen_env.scoring.text_features import GRAMS, SIZE, features, ngrams
from dyngen_env.text.saved_arrays import saved_arrays

MOST_TEXTS = 2000  # that a model learns from: fitting takes seconds, and grows with their third power
NOISES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # σ²/s² that are tried


class Predicted(NamedTuple):
    """A rating that people would give on average, on their scale, and the standard deviation of that estimate."""

    mean: float
    std: float


class RatingProcess:
    """A Gaussian process of ratings. Make one with `fitted` or `load`.

    Args:
        features: (N, SIZE), a row for each text that was rated.
        ratings: (N,), y + b.
        idf: (GRAMS,) the weight of each n-gram in the features.
        bias: b. scale: s². noise: σ².
    """

    def __init__(
        self, features: Sparse, ratings: np.ndarray, idf: np.ndarray, *, bias: float, scale: float, noise: float
    ):
        self.features, self.ratings, self.idf = features, ratings, idf
        self.bias, self.scale, self.noise = bias, scale, noise

    def predict(self, text: str) -> Predicted:
        """The rating that people would give a text. The estimate is not clipped to their scale."""
        places, values = features(text, self.idf)
        x = np.zeros(SIZE)
        x[places] = values
        k = self.scale * self.features.times(x)  # (N,) k*
        var = self.scale * float(values @ values) - float(k @ self._inverse @ k)
        return Predicted(self.bias + float(k @ self._inverse @ (self.ratings - self.bias)), max(var, 0.0) ** 0.5)

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations (N,) of what is predicted for each text from all others (eq. 5.12):

        mean = yᵢ − [A y]ᵢ / Aᵢᵢ,  var + σ² = 1 / Aᵢᵢ,  A = (K + σ²I)⁻¹.
        """
        inverse = np.diag(self._inverse)
        means = self.ratings - self._inverse @ (self.ratings - self.bias) / inverse
        return means, np.sqrt(np.maximum(1 / inverse - self.noise, 0.0))

    def spread_exceeded_by(self, share: float) -> float:
        """The standard deviation that so large a share of the texts reach, each predicted from all others."""
        if share in (0, 1):
            return 0.0 if share else float("inf")
        return float(np.quantile(self.left_out()[1], 1 - share))

    @cached_property
    def _inverse(self) -> np.ndarray:
        """(K + σ²I)⁻¹, (N, N)."""
        return np.linalg.inv(self.scale * _products(self.features) + self.noise * np.eye(self.features.count))

    def save(self, path: str | Path) -> None:
        """Write an `.npz` file: hashes of the texts' n-grams and their ratings, no text."""
        seen = np.unique(self.features.places[self.features.places < GRAMS])
        np.savez_compressed(
            path,
            places=self.features.places.astype(np.int32),
            values=self.features.values.astype(np.float32),
            rows=self.features.rows.astype(np.int32),
            ratings=self.ratings,
            seen=seen.astype(np.int32),
            idf=self.idf[seen],
            numbers=[self.bias, self.scale, self.noise, _unseen(len(self.ratings))],
        )

    @classmethod
    def load(cls, path: str | Path) -> RatingProcess:
        """Read what `save` has written.

        Raises:
            FileNotFoundError: no such file. ValueError: `save` has not written this file.
        """
        names = ("places", "values", "rows", "ratings", "seen", "idf", "numbers")
        remedy = "`python -m dyngen_agents.reward_models.rating_process` writes one"
        saved = saved_arrays(path, names, "model of ratings", remedy)
        places, rows = saved["places"].astype(np.int64), saved["rows"].astype(np.int64)
        x = Sparse(places, saved["values"].astype(np.float64), rows, len(saved["ratings"]), SIZE)
        bias, scale, noise, unseen = saved["numbers"].tolist()
        idf = np.full(GRAMS, unseen)
        idf[saved["seen"]] = saved["idf"]
        return cls(x, saved["ratings"], idf, bias=bias, scale=scale, noise=noise)


def fitted(texts: Sequence[str], ratings: Sequence[float]) -> RatingProcess:
    """The process of N rated texts, with the s² and σ² that make the ratings likeliest (eq. 2.30).

    Of more than `MOST_TEXTS` the last are used.

    Raises:
        ValueError: fewer than two texts.
    """
    if len(texts) < 2:
        raise ValueError(f"{len(texts)} rated texts: expected at least two")
    texts, given = list(texts)[-MOST_TEXTS:], np.array(ratings[-MOST_TEXTS:], dtype=np.float64)
    idf = _idf(texts)
    x, bias = text_matrix(texts, idf, SIZE), float(given.mean())
    values, vectors = np.linalg.eigh(_products(x))
    squares = (vectors.T @ (given - bias)) ** 2  # of y along the eigenvectors,
    found = []
    for noise in NOISES:
        variances = np.maximum(values, 0.0) + noise  # and their variances in units of s²
        scale = max(float((squares / variances).mean()), 1e-6)  # the likeliest s² where σ² = s² · noise
        found.append((-0.5 * float(np.log(scale * variances).sum()), scale, noise * scale))
    _, scale, noise = max(found)
    return RatingProcess(x, given, idf, bias=bias, scale=scale, noise=noise)


@cache
def saved_process(path: str) -> RatingProcess:
    """The process in a file, read once for all who ask. Errors are those of `RatingProcess.load`."""
    return RatingProcess.load(Path(path).expanduser())


def _idf(texts: Sequence[str]) -> np.ndarray:
    """Inverse document frequencies as in `linear_fit`, but no n-gram is left out: one that no rated text had is what
    makes another text unlike them all."""
    found = np.zeros(GRAMS)
    for text in texts:
        found[ngrams(text)[0]] += 1
    return _unseen(len(texts)) - np.log(1 + found)


def _unseen(texts: int) -> float:
    return float(np.log(1 + texts)) + 1


def _products(x: Sparse) -> np.ndarray:
    """(N, N): the products xᵀx' of all rows."""
    order = np.argsort(x.rows, kind="stable")
    borders = np.searchsorted(x.rows[order], np.arange(1, x.count))
    row, products = np.zeros(x.size), np.empty((x.count, x.count))
    for i, entries in enumerate(np.split(order, borders)):
        row[x.places[entries]] = x.values[entries]
        products[i] = x.times(row)
        row[x.places[entries]] = 0.0
    return products
