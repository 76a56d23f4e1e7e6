"""When a reward is paid: as it is earned, when the turn ends, or when the episode ends. The sum is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dyngen_env.mdp.state import LIVE
from dyngen_env.rewards.base import IllegalToken, Reward, Sum, as_reward
from dyngen_env.rewards.transforms.shaping import Dense
from dyngen_env.rewards.transforms.wrapped import Wrapped
from dyngen_env.types import Transition

TIMES = ("token", "turn", "episode")


class Delayed(Wrapped):
    """What a reward pays, withheld by the env until the turn or the episode ends.

    Called by itself it is the reward: an env keeps what is owed beside what was paid.
    """

    def __init__(self, reward: Any, until: str):
        super().__init__(reward)
        self.held_until = until

    def by_turns(self) -> Reward:
        return self.inner.by_turns()

    def __call__(self, transition: Transition) -> torch.Tensor:
        return self.inner(transition)


def delayed(reward: Any, to: str = "episode") -> Reward:
    """The same reward, paid at another time. An episode's sum does not depend on `to`, term by term.

    Args:
        reward: of a sum, each part is moved, and reported by its own name.
        to: "episode": all at the end of the episode. "turn": at the end of each turn. "token": as it is earned; of a
            reward that reads whole turns that is, at each token, how much its value for the turn so far has grown.

    Raises:
        ValueError: another word, or a part is delayed already.
    """
    if to not in TIMES:
        raise ValueError(f"delayed to {to!r}: expected one of {', '.join(map(repr, TIMES))}")
    return Sum([(scale, _moved(part, to)) for scale, part in as_reward(reward).terms()])


def _moved(part: Reward, to: str) -> Reward:
    if isinstance(part, IllegalToken):
        return part  # it ends the episode, so no time is another one
    if to == "token":
        return part if part.per_token else Dense(part)
    return Delayed(part, to)


def is_due(parts: Sequence[Reward], transition: Transition) -> torch.Tensor:
    """(B, K) bool: which of K parts pay in this step what they owe. Every part does where the episode ends."""
    over = transition.turn_ended & (transition.after.finish != LIVE)
    due = {None: torch.ones_like(over), "turn": transition.turn_ended, "episode": over}
    return torch.stack([due[part.held_until] for part in parts], dim=1)
