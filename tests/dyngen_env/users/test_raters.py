"""Ratings scatter as people's do: compared with the published ratings themselves."""

from __future__ import annotations

import numpy as np
import pytest

from dyngen_env.assets.reviews import load_reviews
from dyngen_env.scoring.raters import draw_rating, rating_spread


def test_the_spread_is_that_of_the_reviews():
    rated = [r for review in load_reviews("train") if 1.75 <= review.mean <= 2.25 for r in review.ratings]
    assert rating_spread()[12, 6] == pytest.approx(rated.count(2) / len(rated))  # row 12 is a mean of 2, column 6 a +2
    np.testing.assert_allclose(rating_spread().sum(1), 1.0)


@pytest.mark.parametrize("opinion", [-3.0, 0.0, 2.0])
def test_ratings_are_unbiased_and_as_noisy_as_peoples(opinion):
    rng = np.random.default_rng(0)
    drawn = [draw_rating(opinion, 1.0, rng) for _ in range(4000)]
    people = [r for review in load_reviews("train") if abs(review.mean - opinion) <= 0.25 for r in review.ratings]
    assert np.mean(drawn) == pytest.approx(opinion, abs=0.08)
    assert np.std(drawn) == pytest.approx(np.std(people), abs=0.06)


def test_without_noise_the_rating_is_the_opinion():
    rng = np.random.default_rng(0)
    assert [draw_rating(x, 0.0, rng) for x in (-4.0, -0.2, 1.6, 4.0)] == [-4, 0, 2, 4]


def test_ratings_stay_on_the_scale():
    rng = np.random.default_rng(0)
    assert {draw_rating(x, 3.0, rng) for x in (-4.0, 4.0) for _ in range(300)} <= set(range(-4, 5))
