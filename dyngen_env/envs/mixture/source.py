"""The examples of a mixture as tokens: which task an episode plays, by its seed or its row, and then which example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch

from dyngen_env.envs.episode_source import Drawn, EpisodeSource, check_indices, objects
from dyngen_env.envs.seeding import stream_uniform
from dyngen_env.tasks import MixedTask
from dyngen_env.types import Example


class OneTask(NamedTuple):
    """What a mixture must know of the episodes of one task."""

    source: EpisodeSource
    budget: int  # how many tokens a turn may have
    token: int | None  # a control token that stands before its prompts


class MixedSource(EpisodeSource):
    """The examples of several tasks.

    Args:
        mixture: the tasks, with their weights. tasks: by name, in the same order.
        by_rows: whether each row has one task for good; else it is drawn for every episode.
        context: L, how wide rows of tokens are. device: where the tokens lie.
    """

    def __init__(
        self, mixture: MixedTask, tasks: Mapping[str, OneTask], *, by_rows: bool, context: int, device: torch.device
    ):
        self.mixture, self.tasks, self.by_rows = mixture, tasks, by_rows
        self.context, self.device = context, device

    def weighted(self, mixture: MixedTask) -> MixedSource:
        """The same tasks with the weights of `mixture`."""
        return MixedSource(mixture, self.tasks, by_rows=self.by_rows, context=self.context, device=self.device)

    def draw(self, episode_seeds: np.ndarray, rows: np.ndarray | None = None) -> Drawn:
        if self.by_rows and rows is not None:
            which = self.mixture.of_rows(rows)
        else:
            which = self.mixture.pick(stream_uniform(episode_seeds, "mixture"))
        return self._joined(which, lambda task, at: task.source.draw(episode_seeds[at]))

    def at(self, indices: np.ndarray) -> Drawn:
        every = self.mixture.examples
        if not every:
            raise ValueError('one of the tasks has no list of examples: use the option "prompt"')
        check_indices(indices, len(every))
        return self.of([every[i] for i in indices.tolist()])

    def of(self, examples: list[Example]) -> Drawn:
        names = self.mixture.names
        for example in examples:
            if example.task not in names:
                raise ValueError(
                    f"the prompt {example.prompt[:60]!r} is of task {example.task!r}, and this env plays "
                    f"{', '.join(names)}: say which, by Example(prompt, task={names[0]!r})"
                )
        which = np.array([names.index(example.task or "") for example in examples])
        return self._joined(which, lambda task, at: task.source.of([examples[i] for i in at.tolist()]))

    def _joined(self, which: np.ndarray, drawn: Callable[[OneTask, np.ndarray], Drawn]) -> Drawn:
        """What R rows play that have the tasks `which` (R,), each part as the task gives it for places (R',)."""
        tokens = torch.full((len(which), self.context), -1, device=self.device)
        lengths, budgets = (torch.zeros(len(which), dtype=torch.int64, device=self.device) for _ in range(2))
        examples = np.empty(len(which), dtype=object)
        for number, name in enumerate(self.mixture.names):
            at = np.flatnonzero(which == number)
            if not len(at):
                continue
            task, where = self.tasks[name], torch.from_numpy(at).to(self.device)
            part = drawn(task, at)
            examples[at] = objects(part.examples)
            if task.token is None:
                tokens[where], lengths[where] = part.tokens, part.lengths
            else:
                tokens[where] = torch.nn.functional.pad(part.tokens[:, :-1], (1, 0), value=task.token)
                lengths[where] = part.lengths + 1
            budgets[where] = task.budget
        return Drawn(examples, tokens, lengths, budgets)
