"""The base class of rewards that change another reward, such as `clip` and `shaped`."""

from __future__ import annotations

import copy
from typing import Any, Self

from dyngen_env.rewards.base import Reward, RewardContext, as_reward


class Wrapped(Reward):
    """A reward that is computed from an inner one. It binds the inner one with itself, and pays by token if that does.

    A subclass implements `__call__`, and sets `label`, the name of its term, in which {} stands for the inner name.

    Args:
        reward: the inner one: a reward, a number or a function of text.

    Raises:
        ValueError: the inner reward is delayed. Delaying comes last, since the env withholds whole terms of the sum.
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
        self.every_step = inner.every_step
        self.name = self.label.format(inner.name)


def refuse_delayed(reward: Reward, what: str) -> None:
    """Raises ValueError if a term of the reward is delayed: such terms can be added up, and nothing else.

    Args:
        what: the name of what was to be made of it, for the message.
    """
    if any(part.held_until for _, part in reward.terms()):
        raise ValueError(f"{what} of a delayed reward: delay last, as in delayed(clip(sentiment), to='episode')")
