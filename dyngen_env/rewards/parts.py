"""What a reward is made of: sums, products and wrappers taken apart, those of one's own included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dyngen_env.rewards.base import Reward


def parts_of(reward: Reward) -> Iterator[Reward]:
    """The reward itself and every reward that it, or a part of it, holds as an attribute: each once, it first.

    What a function computes cannot be seen: a `TextReward` that calls another reward's score has no parts.
    """
    seen: set[int] = set()
    waiting = [reward]
    while waiting:
        part = waiting.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            waiting += _rewards_in(vars(part))


def _rewards_in(value: Any) -> Iterator[Reward]:
    """The rewards in nested dicts, lists and tuples."""
    if isinstance(value, Reward):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _rewards_in(item)
