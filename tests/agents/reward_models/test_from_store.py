"""Reward models learn from a store what they learn from a file, and what people rated high."""

from __future__ import annotations

import json

import pytest

from dyngen_agents.feedback.store import FeedbackStore
from dyngen_agents.reward_models import preferences, ratings
from dyngen_agents.reward_models.from_store import Pair, Rated, rated_in
from dyngen_env.scoring.human_rating import LinearRating

GOOD, BAD = "a great and lovely film", "a dull and awful film"


@pytest.fixture
def people_said(tmp_path):
    """Sixty prompts with two answers each; ada prefers the good one, and both rate both."""
    path = tmp_path / "feedback.db"
    with FeedbackStore(path) as store, store.at_once():
        ada, bob = store.person("ada"), store.person("bob")
        for number in range(60):
            dialogue = store.begin_dialogue(None, opening=f"p{number}")
            good = store.add_turn(dialogue, "agent", f"{GOOD} {number % 7}")
            bad = store.add_turn(dialogue, "agent", f"{BAD} {number % 5}", beside=good)
            store.add_feedback("preference", ada, (good, bad))
            store.add_feedback("rating", ada, good, -4)  # a slip, which the next one mends
            for turn, mean in ((good, 2.0), (bad, -3.0)):
                store.add_feedback("rating", ada, turn, mean + 1)
                store.add_feedback("rating", bob, turn, mean - 1)
    return path


def test_preferences_of_a_store_are_those_of_its_export(people_said, tmp_path):
    lines = [dict(prompt=f"p{i}", chosen=f"{GOOD} {i % 7}", rejected=f"{BAD} {i % 5}") for i in range(60)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    pairs = preferences.read_pairs(people_said)
    assert pairs == preferences.read_pairs(tmp_path / "pairs.jsonl") and isinstance(pairs[0], Pair)


def test_ratings_are_means_over_people(people_said, tmp_path, monkeypatch):
    rated = rated_in(people_said)
    assert rated[:2] == [Rated("p0", f"{GOOD} 0", 2.0), Rated("p0", f"{BAD} 0", -3.0)] and len(rated) == 120
    out = tmp_path / "mine.npz"
    monkeypatch.setattr("sys.argv", ["ratings", str(people_said), "--out", str(out)])
    ratings.main()
    model = LinearRating.load(out)
    assert model(GOOD) == pytest.approx(2.0, abs=0.5) and model(BAD) == pytest.approx(-3.0, abs=0.5)


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match="1 rated texts, 0 of them held out"):
        ratings.train_on_ratings([Rated("p0", GOOD, 1.0)])


def test_a_store_without_ratings_says_where_they_come_from(tmp_path):
    with FeedbackStore(tmp_path / "people.db") as store:
        ada = store.person("ada")
        asked = store.add_turn(store.begin_dialogue(ada), "user", "Hello")
        store.add_feedback("rating", ada, asked, 4)  # of her own words, which no model wrote
        with pytest.raises(ValueError, match="has no ratings of what a model wrote: they come from"):
            rated_in(tmp_path / "people.db")
        store.add_feedback("rating", ada, store.add_turn(asked.dialogue, "agent", "Hi"), 1)
    assert rated_in(tmp_path / "people.db") == [Rated("\nHello", "Hi", 1.0)]
