"""Several tasks as one: which of them an episode plays is chosen first, then its example by that task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from math import gcd, isfinite
from typing import Any

import numpy as np

from dyngen_env.tasks.prompts import Prompts
from dyngen_env.tasks.task import Task
from dyngen_env.text.media import NO_MEDIA
from dyngen_env.types import Example

LONGEST_ROUND = 1000  # rows after which tasks that are fixed by the row repeat, where the weights are no integers


class MixedTask:
    """Chooses one of several tasks, and has that task draw an example.

    Args:
        tasks: by name. Their examples say whose they are (`of_task`).
        weights: by name, how often each is chosen, in proportion.

    Attributes:
        names: of the tasks, in order: places in it are what `pick` and `of_rows` give.
        shares: by name, the weights divided by their sum.

    Raises:
        ValueError: a weight is missing, or no finite number above 0.
    """

    def __init__(self, tasks: Mapping[str, Task], weights: Mapping[str, float]):
        self.names = tuple(tasks)
        self.tasks = dict(tasks)
        if not isinstance(weights, Mapping):
            raise ValueError(f"weights={weights!r}: expected a number for each of {', '.join(self.names)}, by id")
        if weights.keys() != tasks.keys():
            raise ValueError(f"weights of {', '.join(weights)}: expected one for each of {', '.join(self.names)}")
        for name in self.names:
            check_weight(name, weights[name])
        whole = sum(weights.values())
        self.shares = {name: weights[name] / whole for name in self.names}
        self._bounds = np.cumsum(list(self.shares.values()))[:-1]
        self._round = _fair_round([weights[name] for name in self.names])

    def pick(self, uniforms: np.ndarray) -> np.ndarray:
        """Which tasks R uniform random numbers choose, by weight: (R,) floats in [0, 1) to (R,) places in `names`."""
        return np.searchsorted(self._bounds, uniforms, side="right")

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """Which tasks rows with these numbers (R,) play if that is fixed: (R,) places in `names`.

        Any rows that follow each other have the tasks in proportion to their weights, as nearly as can be.
        """
        return self._round[rows % len(self._round)]

    def sample(self, rng: np.random.Generator) -> Example:
        return self.tasks[self.names[int(self.pick(rng.random(1))[0])]].sample(rng)

    def with_weights(self, weights: Mapping[str, float]) -> MixedTask:
        """The same tasks with other weights. Raises ValueError as the class does."""
        return MixedTask(self.tasks, weights)

    @property
    def examples(self) -> tuple[Example, ...]:
        """Every example, task by task; empty if one of the tasks has no list of them."""
        lists = [task.examples for task in self.tasks.values() if isinstance(task, Prompts)]
        return sum(lists, ()) if len(lists) == len(self.tasks) else ()

    @property
    def written(self) -> tuple[Example, ...]:
        """What people wrote after prompts, of all tasks that know such texts."""
        return sum((tuple(getattr(task, "written", ())) for task in self.tasks.values()), ())


class _Named:
    """A task whose examples say whose they are."""

    def __init__(self, task: Task, name: str):
        self.task, self.name, self.media = task, name, getattr(task, "media", NO_MEDIA)

    def sample(self, rng: np.random.Generator) -> Example:
        return replace(self.task.sample(rng), task=self.name)


def of_task(task: Task, name: str) -> Task:
    """The same task, whose examples say that they are its own (`Example.task`)."""
    if type(task) is Prompts:
        examples, written = ([replace(e, task=name) for e in part] for part in (task.examples, task.written))
        return Prompts(examples, written)
    return _Named(task, name)


def check_weight(name: str, weight: Any) -> None:
    """Raises ValueError unless the weight of a task is a finite number above 0."""
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not isfinite(weight) or weight <= 0:
        raise ValueError(
            f"the weight of {name} is {weight!r}: expected a finite number above 0; a mixture can be made without it"
        )


def _fair_round(weights: list[float]) -> np.ndarray:
    """A sequence of places in which each place is as far ahead or behind its share as little as can be at any time.

    After n entries the place that has been given least of its n shares so far comes next.
    """
    whole, length = sum(weights), LONGEST_ROUND
    if all(float(weight).is_integer() for weight in weights):
        length = min(length, int(whole) // reduce(gcd, map(int, weights)))
    shares, given, order = np.array(weights) / whole, np.zeros(len(weights)), []
    for n in range(1, length + 1):
        order.append(int(np.argmax(n * shares - given)))
        given[order[-1]] += 1
    return np.array(order)
