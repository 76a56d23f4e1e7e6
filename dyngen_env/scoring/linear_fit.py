"""Fits linear models to sparse text features: ridge regression to ratings, Bradley-Terry models to preferences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dyngen_env.scoring.text_features import GRAMS, features, ngrams


@dataclass(frozen=True)
class Sparse:
    """A sparse matrix X (N, D) as a list of its K entries; entries at one place add up."""

    places: np.ndarray
    """(K,) the column of each entry."""
    values: np.ndarray
    """(K,) its value."""
    rows: np.ndarray
    """(K,) its row."""
    count: int
    """N."""
    size: int
    """D."""

    def times(self, w: np.ndarray) -> np.ndarray:
        """The product X w (N,) with a vector w (D,)."""
        return np.bincount(self.rows, weights=self.values * w[self.places], minlength=self.count)

    def transposed_times(self, u: np.ndarray) -> np.ndarray:
        """The product Xᵀ u (D,) with a vector u (N,)."""
        return np.bincount(self.places, weights=self.values * u[self.rows], minlength=self.size)

    def minus(self, other: Sparse) -> Sparse:
        """The difference X - Y of two matrices of the same shape."""
        places = np.concatenate([self.places, other.places])
        values = np.concatenate([self.values, -other.values])
        return Sparse(places, values, np.concatenate([self.rows, other.rows]), self.count, self.size)

    def compact(self) -> tuple[Sparse, np.ndarray]:
        """This matrix without its empty columns, and the numbers of the columns that are left."""
        used, places = np.unique(self.places, return_inverse=True)
        return Sparse(places, self.values, self.rows, self.count, len(used)), used


def text_matrix(texts: Sequence[str], idf: np.ndarray, size: int) -> Sparse:
    """The features of N texts (`text_features.features`, with its weights `idf`) as the rows of a matrix (N, size)."""
    places, values = zip(*(features(text, idf) for text in texts), strict=True)
    rows = np.repeat(np.arange(len(texts)), [len(p) for p in places])
    return Sparse(np.concatenate(places), np.concatenate(values), rows, len(texts), size)


def inverse_document_frequencies(texts: Sequence[str], seldom: int = 2) -> np.ndarray:
    """Inverse document frequencies of all n-grams: (GRAMS,) floats, smoothed.

    idf = log((1 + N) / (1 + n)) + 1 for an n-gram that occurs in n of the N texts, and 0 where n < `seldom`: such
    n-grams are not used.
    """
    found = np.zeros(GRAMS)
    for text in texts:
        found[ngrams(text)[0]] += 1
    return np.where(found < seldom, 0.0, np.log((1 + len(texts)) / (1 + found)) + 1)


def ridge(x: Sparse, y: np.ndarray, strength: float, start: np.ndarray, tolerance: float = 1e-3) -> np.ndarray:
    """Ridge regression (Hoerl and Kennard 1970): the w (D,) that minimises ‖Xw - y‖² + strength ‖w‖².

    Args:
        x: X (N, D). y: (N,).
        start: (D,) where the iteration begins, for example the solution for another `strength`.
        tolerance: of the residual, relative to Xᵀy.
    """

    def times(v: np.ndarray) -> np.ndarray:
        return x.transposed_times(x.times(v)) + strength * v

    return conjugate_gradients(times, x.transposed_times(y), start, tolerance)


def bradley_terry(difference: Sparse, strength: float, tolerance: float = 1e-4) -> np.ndarray:
    """A Bradley-Terry model of preferences: the w that minimises Σ -log σ(Dw) + strength/2 ‖w‖², by Newton's method.

    P(chosen is preferred to rejected) = σ(r(chosen) - r(rejected)) (Bradley and Terry 1952), where the score
    r(x) = wᵀx is linear in the features.

    Args:
        difference: D, a row for each pair: the features of what was chosen minus those of what was rejected.
        strength: of the regularisation.
        tolerance: of the gradient, relative to that at w = 0.
    """

    def loss(v: np.ndarray) -> float:
        return float(np.logaddexp(0.0, -difference.times(v)).sum() + strength / 2 * (v @ v))

    w = np.zeros(difference.size)
    scale = float(np.linalg.norm(difference.transposed_times(np.full(difference.count, 0.5)))) or 1.0
    for _ in range(50):
        wrong = 1 / (1 + np.exp(np.clip(difference.times(w), -500, 500)))  # σ(-Dw)
        slope = strength * w - difference.transposed_times(wrong)
        if np.linalg.norm(slope) <= tolerance * scale:
            break
        curvature = wrong * (1 - wrong)

        def times(v: np.ndarray, curvature: np.ndarray = curvature) -> np.ndarray:
            return difference.transposed_times(curvature * difference.times(v)) + strength * v

        step, now, part = conjugate_gradients(times, -slope, np.zeros_like(w), 0.1), loss(w), 1.0
        while loss(w + part * step) > now and part > 1e-6:
            part /= 2
        w = w + part * step
    return w


def conjugate_gradients(
    times: Callable[[np.ndarray], np.ndarray], target: np.ndarray, start: np.ndarray, tolerance: float
) -> np.ndarray:
    """Solve A w = target for a symmetric positive definite A by conjugate gradients (Hestenes and Stiefel 1952).

    Args:
        times: the function v -> A v. start: where the iteration begins.
        tolerance: of the residual, relative to `target`.
    """
    w = start.copy()
    residual = target - times(w)
    direction, size = residual.copy(), residual @ residual
    for _ in range(200):
        if size <= tolerance**2 * (target @ target):
            break
        image = times(direction)
        step = size / (direction @ image)
        w += step * direction
        residual -= step * image
        size, before = residual @ residual, size
        direction = residual + size / before * direction
    return w
