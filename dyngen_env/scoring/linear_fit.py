"""Fitting linear models of sparse text features: ridge regression of ratings, and Bradley-Terry for preferences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dyngen_env.scoring.text_features import GRAMS, features, ngrams


@dataclass(frozen=True)
class Sparse:
    """A matrix X (N, D) by its entries; those at one place add up."""

    places: np.ndarray  # (K,) columns
    values: np.ndarray  # (K,)
    rows: np.ndarray  # (K,)
    count: int  # N
    size: int  # D

    def times(self, w: np.ndarray) -> np.ndarray:
        """X w, (N,)."""
        return np.bincount(self.rows, weights=self.values * w[self.places], minlength=self.count)

    def transposed_times(self, u: np.ndarray) -> np.ndarray:
        """Xᵀ u, (D,)."""
        return np.bincount(self.places, weights=self.values * u[self.rows], minlength=self.size)

    def minus(self, other: Sparse) -> Sparse:
        """X - Y, of matrices of one shape."""
        places = np.concatenate([self.places, other.places])
        values = np.concatenate([self.values, -other.values])
        return Sparse(places, values, np.concatenate([self.rows, other.rows]), self.count, self.size)

    def compact(self) -> tuple[Sparse, np.ndarray]:
        """The columns that have entries, and which those are."""
        used, places = np.unique(self.places, return_inverse=True)
        return Sparse(places, self.values, self.rows, self.count, len(used)), used


def text_matrix(texts: Sequence[str], idf: np.ndarray, size: int) -> Sparse:
    """The features of N texts as rows of a matrix (N, size). idf: (GRAMS,)."""
    places, values = zip(*(features(text, idf) for text in texts), strict=True)
    rows = np.repeat(np.arange(len(texts)), [len(p) for p in places])
    return Sparse(np.concatenate(places), np.concatenate(values), rows, len(texts), size)


def inverse_document_frequencies(texts: Sequence[str], seldom: int = 2) -> np.ndarray:
    """(GRAMS,): log((1 + N)/(1 + n)) + 1 for an n-gram of n of the N texts, 0 where n < `seldom`."""
    found = np.zeros(GRAMS)
    for text in texts:
        found[ngrams(text)[0]] += 1
    return np.where(found < seldom, 0.0, np.log((1 + len(texts)) / (1 + found)) + 1)


def ridge(x: Sparse, y: np.ndarray, strength: float, start: np.ndarray, tolerance: float = 1e-3) -> np.ndarray:
    """argmin ‖Xw - y‖² + strength ‖w‖² (Hoerl and Kennard 1970), by conjugate gradients from `start` (D,)."""

    def times(v: np.ndarray) -> np.ndarray:
        return x.transposed_times(x.times(v)) + strength * v

    return conjugate_gradients(times, x.transposed_times(y), start, tolerance)


def bradley_terry(difference: Sparse, strength: float, tolerance: float = 1e-4) -> np.ndarray:
    """argmin Σ -log σ(Dw) + strength/2 ‖w‖², (size,): what people prefer, by Newton's method.

    P(chosen over rejected) = σ(r(chosen) - r(rejected)) (Bradley and Terry 1952), r linear in the features.

    Args:
        difference: D, features of what was chosen less those of what was rejected, a row each pair.
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
    """The solution of A w = target, A symmetric and positive, given as v -> A v (Hestenes and Stiefel 1952)."""
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
