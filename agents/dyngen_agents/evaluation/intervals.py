"""Confidence intervals of means: over episodes, some of which may have the same prompt, and over seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

NORMAL_QUANTILE = 1.96  # z(0.975)


def half_interval(values: ArrayLike, prompts: Sequence[Hashable]) -> float:
    """Half the width of the 95% interval of the mean of N ≥ 2 values, which are independent between prompts only:

        1.96/N √(C/(C - 1) Σ_c (Σ_{i in c} xᵢ - x̄)²)

    for C clusters, the episodes of a prompt being one (Liang and Zeger 1986; Cameron and Miller 2015, eq. 11). Where no
    prompt occurs twice that is 1.96 s/√N. Where there is one prompt only, the mean is that of its completions, which
    are independent.

    Args:
        values: (N,). prompts: (N,) what each episode was begun with.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known: dict[Hashable, int] = {}
    cluster = np.array([known.setdefault(prompt, len(known)) for prompt in prompts])
    if len(known) < 2:
        cluster = np.arange(len(numbers))
    sums = np.bincount(cluster, weights=numbers - numbers.mean())
    return NORMAL_QUANTILE * math.sqrt(len(sums) / (len(sums) - 1) * float((sums**2).sum())) / len(numbers)


@cache
def t_quantile(degrees: int) -> float:
    """t with P(T < t) = 0.975 for Student's distribution with 1 or more degrees of freedom."""
    low, high = 1.9, 13.0  # z(0.975) is 1.96, t(0.975, 1) is 12.71
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if central_mass(middle, degrees) < 0.95 else (low, middle)
    return (low + high) / 2


def central_mass(t: float, degrees: int) -> float:
    """P(|T| < t): Abramowitz and Stegun 1964, 26.7.3 for odd and 26.7.4 for even degrees of freedom."""
    angle = math.atan(t / math.sqrt(degrees))
    odd = degrees % 2
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for k in range(1 + odd, degrees, 2):  # cos θ + 2/3 cos³θ + 2·4/(3·5) cos⁵θ …, or 1 + 1/2 cos²θ + 1·3/(2·4) cos⁴θ …
        total += term
        term *= k / (k + 1) * math.cos(angle) ** 2
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
