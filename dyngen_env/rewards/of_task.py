"""A reward that is paid in the episodes of one task only, where an env plays several (`dyngen_env.mix`)."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from dyngen_env.rewards.base import Reward, RewardContext
from dyngen_env.rewards.parts import parts_of
from dyngen_env.types import Transition


class OfTask(Reward):
    """Another reward, which sees the turns of one task alone and pays in that task's rows alone.

    Args:
        reward: the other one.
        task: of the examples for which it is paid (`Example.task`).
        label: stands before the reward's own name, with a slash, in the name of the term.
        user_answers: whether somebody answers in that task; of the whole env this says nothing.
    """

    def __init__(self, reward: Reward, task: str, label: str, user_answers: bool):
        self.task, self.label, self.user_answers = task, label, user_answers
        self._take(reward)

    def _take(self, inner: Reward) -> None:
        self.inner, self.name = inner, f"{self.label}/{inner.name}"
        self.per_token, self.every_step, self.held_until = inner.per_token, inner.every_step, inner.held_until
        self.cheap, self.prices_illegal = inner.cheap, inner.prices_illegal

    def bind(self, context: RewardContext) -> OfTask:
        return self._around(self.inner.bind(replace(context, user_answers=self.user_answers)))

    def by_turns(self) -> OfTask:
        return self._around(self.inner.by_turns())

    def _around(self, inner: Reward) -> OfTask:
        twin = copy.copy(self)
        twin._take(inner)
        return twin

    def __call__(self, transition: Transition) -> torch.Tensor:
        kept = [i for i, example in enumerate(transition.examples) if example.task == self.task]
        if not kept and not self.per_token:
            return torch.zeros(len(transition.actions), dtype=torch.float64, device=transition.actions.device)
        step = transition if len(kept) == len(transition.rows) else transition.with_turns(kept)
        paid = self.inner(step)
        if not self.per_token:
            return paid
        playing = torch.tensor([example.task == self.task for example in transition.playing], device=paid.device)
        return torch.where(playing, paid, 0.0)


def task_of(reward: Reward) -> str | None:
    """The task in whose rows alone a term pays, delayed or shaped or as it is; None for one that pays everywhere."""
    tasks = {part.task for part in parts_of(reward) if isinstance(part, OfTask)}
    return tasks.pop() if len(tasks) == 1 else None
