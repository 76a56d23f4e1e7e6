"""A reward made of another one: what wrappers such as `clip` and `shaped` have in common."""

from __future__ import annotations

import copy
from typing import Any, Self

from dyngen_env.rewards.base import Reward, RewardContext, as_reward


class Wrapped(Reward):
    """Another reward, changed. It is bound with it, and pays while a turn goes on if that does.

    A subclass sets `label`, the name of its term, in which {} stands for the other's.

    Args:
        reward: a reward, a number or a function of text.

    Raises:
        ValueError: the reward is delayed: the env withholds what a term of the sum owes, so delaying comes last.
    """

    label = "{}"

    def __init__(self, reward: Any):
        self._take(as_reward(reward))
        refuse_delayed(self.inner, type(self).__name__.lower())

    def bind(self, context: RewardContext) -> Self:
        bound = copy.copy(self)
        bound._take(self.inner.bind(context))
        return bound

    def _take(self, inner: Reward) -> None:
        self.inner, self.per_token = inner, inner.per_token
        self.name = self.label.format(inner.name)


def refuse_delayed(reward: Reward, what: str) -> None:
    """Raises ValueError if a part of the reward is to be paid later: nothing but a sum can be made of that."""
    if any(part.held_until for _, part in reward.terms()):
        raise ValueError(f"{what} of a delayed reward: delay last, as in delayed(clip(sentiment), to='episode')")
