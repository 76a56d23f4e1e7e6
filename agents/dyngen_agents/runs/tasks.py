"""The tasks of a run whose env plays several: what each was paid, in its own units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.from_python import NOTHING, FromPython
from dyngen_env.envs.mixture.ids import TaskId, task_ids


def tasks_of(config: TrainConfig, given: FromPython = NOTHING) -> list[TaskId]:
    """The ids that the env of a run plays; empty if it plays one. Where one reward is paid in all of them instead of
    their own, it has no scales: each is 1.

    Raises:
        ValueError: as `task_ids`. gymnasium.error.Error: the run's own id is unknown.
    """
    keywords = gym.spec(config.env).kwargs
    tasks = config.tasks or keywords.get("tasks")
    if not tasks:
        return []
    scales = config.task_scales or keywords.get("task_scales")
    replaced = config.reward is not None or given.reward is not None
    return task_ids(tasks, [1.0] * len(task_ids(tasks)) if replaced else scales)


def by_task(batch: Trajectories, tasks: Sequence[TaskId]) -> Iterator[tuple[TaskId, Tensor]]:
    """Each task that has episodes in a batch, and which rows (R,) int64 they are."""
    for task in tasks:
        rows = [row for row, name in enumerate(batch.tasks) if name == task.name]
        if rows:
            yield task, torch.tensor(rows, device=batch.tokens.device)


def task_metrics(batch: Trajectories, tasks: Sequence[TaskId]) -> dict[str, dict[str, float]]:
    """What an update tells of each task, by its label: mean "reward" in the task's own units, which is as if it were
    played alone; mean "length", tokens that were chosen; "share" of the batch's episodes."""
    returns, lengths = batch.episode_returns, batch.completion_lengths.float()
    return {
        task.label: {
            "reward": task.scale * float(returns[rows].mean()),
            "length": float(lengths[rows].mean()),
            "share": len(rows) / len(batch),
        }
        for task, rows in by_task(batch, tasks)
    }


def own_units(figures: dict[str, Any], task: TaskId) -> dict[str, Any]:
    """Figures of an evaluation of one task's episodes, with all that is made of rewards in the task's own units, and of
    the reward's terms only those of the task, by the names that they have where it is played alone."""
    prefix = f"{task.label}/"
    terms = {name.removeprefix(prefix): task.scale * paid for name, paid in figures["reward_terms"].items()
             if name.startswith(prefix)}  # fmt: skip
    scaled = {key: task.scale * figures[key] for key in ("reward_mean", "reward_ci95")}
    return figures | scaled | {"reward_terms": terms or figures["reward_terms"]}
