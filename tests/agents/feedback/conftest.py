"""A store in a folder of the test, with a clock that stands still until it is moved."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dyngen_agents.feedback.store import FeedbackStore, Turn


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A store without content: to copy it is faster than to make one, which waits for the disk."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    FeedbackStore(path).close()
    return path


@pytest.fixture
def store(tmp_path, empty_store, clock) -> Iterator[FeedbackStore]:
    shutil.copy(empty_store, tmp_path / "feedback.db")
    with FeedbackStore(tmp_path / "feedback.db", clock=clock) as opened:
        yield opened


@pytest.fixture
def answers(store) -> list[Turn]:
    """Three candidates for one place in a dialogue of ada's."""
    with store.at_once():
        dialogue = store.begin_dialogue(store.person("ada"))
        asked = store.add_turn(dialogue, "user", "Any good films?")
        return [store.add_turn(dialogue, "agent", text, after=asked) for text in ("Alien!", "Bambi", "Casablanca")]
