"""Means with 95% intervals, over seeds by Student's t and over episodes by the jackknife; tests and correlations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dyngen_agents.evaluation.intervals import NORMAL_QUANTILE, central_mass, t_quantile


class Estimate(NamedTuple):
    """A mean and half the width of its 95% interval."""

    mean: float
    half: float

    @property
    def above_zero(self) -> bool:
        """Whether the interval lies above 0."""
        return self.mean - self.half > 0

    @property
    def below_zero(self) -> bool:
        """Whether the interval lies below 0."""
        return self.mean + self.half < 0


def over_seeds(values: Sequence[float]) -> Estimate:
    """x̄ ± t(0.975, n-1) s/√n of n ≥ 2 independent values."""
    n = len(values)
    return Estimate(float(np.mean(values)), t_quantile(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n))


def over_episodes(value: float, without: np.ndarray) -> Estimate:
    """θ ± 1.96 standard errors by the jackknife. without (N,): θ of all episodes but the i-th."""
    return Estimate(value, NORMAL_QUANTILE * jackknife_error(without))


def jackknife_error(without: np.ndarray) -> float:
    """√((N-1)/N Σᵢ (θ₍ᵢ₎ - θ̄)²), for θ₍ᵢ₎ (N,) of all episodes but the i-th (Efron and Stein 1981, eq. 1.3).

    For a mean that is s/√N; it serves for ratios and for distinct-n, too.
    """
    n = len(without)
    return math.sqrt((n - 1) * float(np.var(without)))


def difference(some: np.ndarray, others: np.ndarray) -> Estimate:
    """x̄ - ȳ ± 1.96 √(s²/n + t²/m) of two independent samples of n and m ≥ 2 values (Welch 1938)."""
    error = math.sqrt(float(np.var(some, ddof=1)) / len(some) + float(np.var(others, ddof=1)) / len(others))
    return Estimate(float(np.mean(some) - np.mean(others)), NORMAL_QUANTILE * error)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's ρ of N pairs; 0 where one of the two is constant."""
    x, y = a - a.mean(), b - b.mean()
    scale = math.sqrt(float((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / scale if scale else 0.0


def p_below(mean: float, error: float, degrees: float) -> float:
    """P(T ≤ mean/error): how probable a mean so low is if the true one is 0, by Student's t.

    Args:
        error: the standard error of the mean. degrees: of freedom; infinite where the error is as good as known.
    """
    if error == 0:
        return 0.0 if mean < 0 else 1.0
    t = mean / error
    mass = math.erf(abs(t) / math.sqrt(2)) if math.isinf(degrees) else central_mass(abs(t), int(degrees))
    return (1 - mass) / 2 if t < 0 else (1 + mass) / 2


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of K tests, adjusted so that with all hypotheses true the chance of any below α is at most α.

    Holm 1979: the i-th smallest times K + 1 - i, at least as large as those before it, at most 1.
    """
    adjusted, greatest = [0.0] * len(p_values), 0.0
    for i, k in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        greatest = max(greatest, min(1.0, (len(p_values) - i) * p_values[k]))
        adjusted[k] = greatest
    return adjusted


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's ρ of N pairs: the correlation of their ranks, equal values sharing the mean of theirs.

    0 where one of the two is constant: it orders nothing.
    """
    x, y = (ranks(values) - (len(values) + 1) / 2 for values in (a, b))
    scale = math.sqrt(float((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / scale if scale else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """(N,) float64: 1 for the least to N for the greatest; equal values share the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]
