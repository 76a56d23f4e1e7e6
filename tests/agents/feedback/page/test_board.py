"""The board's numbers against all feedback read anew, as it comes, is said again, and is forgotten."""

import pytest

from dyngen_agents.feedback.page.board import Board


def counted(store):
    """The same by reading everything."""
    said = store.feedback(role="agent")
    latest = {(each.turns, each.person.id): each for each in said if each.kind == "rating"}
    ratings = [(each.created, each.value) for each in sorted(latest.values(), key=lambda each: each.id)]
    kinds = [each.kind for each in said]
    return {
        "people": len({each.person.id for each in said}),
        "kinds": {kind: kinds.count(kind) for kind in kinds},
        "ratings": ratings,
        "rated": len(ratings),
        "mean_rating": sum(value for _, value in ratings) / len(ratings) if ratings else None,
        "waiting": len(store.waiting()),
    }


def test_what_is_new_is_counted_once_and_what_is_gone_no_more(store, answers):
    board, (ada, bob) = Board(store), (store.person(name) for name in ("ada", "bob"))
    first, second, third = answers
    assert board.numbers() == counted(store)
    steps = (
        lambda: store.add_feedback("rating", ada, first, 3),
        lambda: store.add_feedback("rating", bob, first, -1),
        lambda: store.add_feedback("rating", ada, first, 1),  # another opinion, which now is the latest
        lambda: store.add_feedback("preference", bob, [second, third]),
        lambda: store.enqueue("rating", second),
        lambda: store.forget("bob"),
        lambda: store.add_feedback("rating", ada, second, 4),
    )
    for step in steps:
        step()
        assert board.numbers() == board.numbers() == counted(store)
    assert board.numbers()["ratings"] == [(1000.0, 1), (1000.0, 4)]


def test_only_what_is_new_is_read(store, answers, monkeypatch):
    board, ada = Board(store), store.person("ada")
    read, feedback = [], store.feedback
    monkeypatch.setattr(store, "feedback", lambda **asked: read.append(len(found := feedback(**asked))) or found)
    for rating in (1, 2, 3):
        store.add_feedback("rating", ada, answers[0], rating)
    for _ in range(2):
        assert board.numbers()["mean_rating"] == pytest.approx(3)
    store.add_feedback("rating", ada, answers[1], 1)
    assert board.numbers()["mean_rating"] == pytest.approx(2)
    assert read == [3, 0, 1]
