"""How often tasks are played by learning progress: hand arithmetic."""

from __future__ import annotations

import pytest

from dyngen_agents.runs.task_progress import TaskProgress

SHARES = {"a": 0.5, "b": 0.25, "c": 0.25}


def test_without_progress_the_weights_stay():
    assert TaskProgress().weights(SHARES) == SHARES
    assert TaskProgress().with_more({"a": 3.0, "b": -1.0}).weights(SHARES) == SHARES  # one update tells no change


def test_what_changes_is_played_more():
    """Returns of a go from 0 to 2: fast 1.0, slow 0.2, LP 0.8. Those of b fall by 1: LP 0.4. c has not been played."""
    progress = TaskProgress().with_more({"a": 0.0, "b": 0.0}).with_more({"a": 2.0, "b": -1.0})
    assert progress.fast == pytest.approx({"a": 1.0, "b": -0.5})
    assert progress.slow == pytest.approx({"a": 0.2, "b": -0.1})
    # w LP is 0.4 and 0.1, so four fifths of 0.8 and one fifth; and 0.2 of the shares.
    expected = {"a": 0.1 + 0.64, "b": 0.05 + 0.16, "c": 0.05}
    assert progress.weights(SHARES) == pytest.approx(expected)
    assert progress.with_more({"b": -1.0}).fast == pytest.approx({"a": 1.0, "b": -0.75})
