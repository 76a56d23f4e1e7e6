"""Krippendorff's alpha of what is in a store, against the figures that he published and against the definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from dyngen_agents.feedback.agreement import Agreement, agreement, ratings_table

pytest.importorskip("krippendorff")

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve units; there
# alpha is 0.743 as nominal and 0.849 as interval data. 0 is missing.
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
    (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
)


def test_ratings_agree_as_published(store):
    with store.at_once():
        dialogue = store.begin_dialogue(None)
        turns = [store.add_turn(dialogue, "agent", str(unit)) for unit in range(12)]
        for number, observer in enumerate(OBSERVERS):
            person = store.person(f"observer {number}")
            store.add_feedback("rating", person, turns[0], -4)  # changes their mind: the last counts
            for turn, value in zip(turns, observer, strict=True):
                if value:
                    store.add_feedback("rating", person, turn, value - 1)
        # The third observer has not rated the first text in the publication.
        store.add_feedback("thumbs", person, turns[0], 1)
    given = [each for each in store.feedback() if (each.person.name, each.turns) != ("observer 2", (turns[0].id,))]
    found = agreement(given, "rating")
    assert found == Agreement(pytest.approx(0.849, abs=5e-4), 11, 4)
    assert ratings_table(given, "rating").shape == (4, 12)


def nominal_alpha(units: list[list[float]]) -> float:
    """1 - D_o / D_e by counting pairs: within units, each weighted by 1 / (raters - 1), and among all values."""
    units = [values for values in units if len(values) > 1]
    every = [value for values in units for value in values]
    observed = sum(
        sum(a != b for a, b in itertools.permutations(values, 2)) / (len(values) - 1) for values in units
    ) / len(every)
    expected = sum(a != b for a, b in itertools.permutations(every, 2)) / (len(every) * (len(every) - 1))
    return 1 - observed / expected


def test_preferences_agree_by_pair_whoever_was_named_first(store):
    rng, units = np.random.default_rng(0), []
    with store.at_once():
        people = [store.person(f"rater {i}") for i in range(4)]
        for pair in range(8):
            dialogue = store.begin_dialogue(None, opening=str(pair))
            one = store.add_turn(dialogue, "agent", "one")
            other = store.add_turn(dialogue, "agent", "other", beside=one)
            choices = rng.random(4) < (0.9 if pair % 2 else 0.2)
            for person, first in zip(people, choices, strict=True):
                store.add_feedback("preference", person, (one, other) if first else (other, one))
            units.append(list(map(float, choices)))
    found = agreement(store.feedback(), "preference")
    assert found.alpha == pytest.approx(nominal_alpha(units)) and 0 < found.alpha < 1
    assert (found.texts, found.people) == (8, 4)


def test_alpha_is_undefined_where_nobody_shares_a_text_or_all_say_the_same(store, answers):
    ada, bob = store.person("ada"), store.person("bob")
    assert agreement(store.feedback(), "rating") == Agreement(None, 0, 0)
    store.add_feedback("rating", ada, answers[0], 1)
    store.add_feedback("rating", bob, answers[1], 2)
    assert agreement(store.feedback(), "rating") == Agreement(None, 0, 0)
    for person in (ada, bob):
        store.add_feedback("ranking", person, answers)
        store.add_feedback("thumbs", person, answers[0], 1)
    assert agreement(store.feedback(), "ranking").alpha == 1.0
    assert agreement(store.feedback(), "thumbs") == Agreement(None, 1, 2)
    assert not math.isnan(agreement(store.feedback(), "ranking").alpha)
    with pytest.raises(ValueError, match="agreement in 'words' is not defined"):
        agreement(store.feedback(), "words")
