"""Several tasks as one: which is chosen, and what its examples say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dyngen_env import Example
from dyngen_env.tasks import MixedTask, Prompts
from dyngen_env.tasks.mixture import of_task
from dyngen_env.testing import check_task


class Counted:
    """A task without a list."""

    def sample(self, rng):
        return Example(str(rng.integers(100)))


def mixture(**weights: float) -> MixedTask:
    tasks = {name: of_task(Prompts([Example(f"{name}1"), Example(f"{name}2")]), name) for name in weights}
    return MixedTask(tasks, weights)


def test_numbers_choose_by_weight():
    task = mixture(a=1, b=2, c=1)
    assert task.pick(np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, 0.9999])).tolist() == [0, 0, 1, 1, 2, 2]
    assert task.shares == {"a": 0.25, "b": 0.5, "c": 0.25}


@pytest.mark.parametrize("weights", [dict(a=2, b=1, c=1), dict(a=4, b=2, c=2), dict(a=0.5, b=0.3, c=0.2)])
def test_rows_that_follow_each_other_have_the_tasks_in_proportion(weights):
    task = mixture(**weights)
    order = task.of_rows(np.arange(2000))
    whole = sum(weights.values())
    for n in (4, 10, 37, 1999):
        given = Counter(order[:n].tolist())
        assert all(abs(given[i] - n * w / whole) < 1 for i, w in enumerate(weights.values()))


def test_it_is_a_task_whose_examples_say_whose_they_are():
    task = MixedTask({"listed": mixture(listed=1).tasks["listed"], "counted": of_task(Counted(), "counted")},
                     {"listed": 1, "counted": 3})  # fmt: skip
    check_task(task)
    drawn = [task.sample(np.random.default_rng(seed)) for seed in range(400)]
    assert abs(np.mean([e.task == "counted" for e in drawn]) - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 400)
    assert all(e.prompt.isdigit() == (e.task == "counted") for e in drawn)
    assert task.examples == () and [e.prompt for e in mixture(a=1, b=1).examples] == ["a1", "a2", "b1", "b2"]


@pytest.mark.parametrize("weights", [{"a": 1}, {"a": 1, "b": 1, "c": 1}])
def test_each_task_has_a_weight(weights):
    with pytest.raises(ValueError, match="expected one for each of a, b"):
        mixture(a=1, b=1).with_weights(weights)
