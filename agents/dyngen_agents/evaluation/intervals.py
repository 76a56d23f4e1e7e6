"""Confidence intervals of means over episodes, some of which may have the same prompt."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

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
