"""Intervals over episodes: of independent ones, of prompts that repeat, and of pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dyngen_agents.evaluation.intervals import half_interval


def test_independent_episodes_have_the_usual_interval():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    assert half_interval(values, "abcd") == pytest.approx(1.96 * values.std(ddof=1) / 2)
    assert half_interval(values, "aaaa") == pytest.approx(1.96 * values.std(ddof=1) / 2)  # of that prompt's completions


def test_repeated_prompts_by_hand():
    """a: 1, 3; b: 8: the mean is 4, the clusters deviate by -4 and 4: 1.96/3 √(2 · 32)."""
    assert half_interval([1.0, 3.0, 8.0], "aab") == pytest.approx(1.96 / 3 * math.sqrt(2 * (16 + 16)))


def test_copies_of_episodes_say_nothing_new():
    """Each of 20 episodes four times: the interval of 20, but for C/(C - 1) against N/(N - 1); not one half of it."""
    values = np.random.default_rng(0).normal(size=20)
    prompts = list(range(20))
    assert half_interval(np.tile(values, 4), prompts * 4) == pytest.approx(half_interval(values, prompts))


def test_the_interval_covers_the_mean_where_prompts_differ():
    """40 prompts of deviation 1, five completions each of deviation 0.5: about 95 of 100 intervals hold 0."""
    rng, held, naive = np.random.default_rng(0), 0, 0
    for _ in range(400):
        values = (rng.normal(size=(40, 1)) + 0.5 * rng.normal(size=(40, 5))).ravel()
        prompts = np.repeat(np.arange(40), 5).tolist()
        held += abs(values.mean()) < half_interval(values, prompts)
        naive += abs(values.mean()) < half_interval(values, list(range(200)))
    assert 0.91 < held / 400 < 0.98 and naive / 400 < 0.8
