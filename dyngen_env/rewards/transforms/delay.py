"""When a reward is paid: token by token, when the turn ends, or when the episode ends. The episode's sum stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dyngen_env.mdp.state import LIVE
from dyngen_env.rewards.base import Reward, Sum, as_reward
from dyngen_env.rewards.transforms.shaping import Dense
from dyngen_env.rewards.transforms.wrapped import Wrapped
from dyngen_env.types import Transition

TIMES = ("token", "turn", "episode")


class Delayed(Wrapped):
    """A reward of which the env withholds what is earned until the turn or the episode ends.

    Called by itself it returns what is earned in the step: withholding is the env's part, which keeps an account of
    what each row has earned and not been paid yet (`envs.reward_ledger`).

    Args:
        until: "turn" or "episode".
    """

    def __init__(self, reward: Any, until: str):
        super().__init__(reward)
        self.held_until = until

    def _take(self, inner: Reward) -> None:
        super()._take(inner)
        self.on_tokens = inner.on_tokens

    def by_turns(self) -> Reward:
        return self.inner.by_turns()

    def __call__(self, transition: Transition) -> torch.Tensor:
        return self.inner(transition)


def delayed(reward: Any, to: str = "episode") -> Reward:
    """Another reward, paid later or earlier than it is earned, with the same sum over every episode.

    It is for studies of sparse and dense rewards. Of a sum each term is moved by itself and keeps its name.

    Args:
        reward: a reward, a number or a function of text.
        to: "episode" pays everything at the end of the episode, "turn" at the end of each turn. "token" pays at each
            token: of a reward that scores whole turns, by how much the score of the turn so far has grown.

    Raises:
        ValueError: `to` is another word, or a term is delayed already.
    """
    if to not in TIMES:
        raise ValueError(f"delayed to {to!r}: expected one of {', '.join(map(repr, TIMES))}")
    return Sum([(scale, _moved(part, to)) for scale, part in as_reward(reward).terms()])


def _moved(part: Reward, to: str) -> Reward:
    if part.prices_illegal:
        return part  # it ends the episode, so no time is another one
    if to == "token":
        return part if part.per_token else Dense(part)
    return Delayed(part, to)


def dense_where_cheap(reward: Any) -> Reward:
    """Another reward with the same sum over every episode, of which the cheap terms are paid at each token: by how much
    their score of the turn so far has grown. Credit reaches the token that earned it, and the optimal policy stays,
    since that is potential-based shaping with γ = 1 (Ng, Harada and Russell 1999; `transforms.shaping`).
    """
    terms = as_reward(reward).terms()
    dense = [part.cheap and not part.per_token and part.held_until is None for _, part in terms]
    return Sum([(scale, Dense(part) if it else part) for (scale, part), it in zip(terms, dense, strict=True)])


def is_due(parts: Sequence[Reward], transition: Transition) -> torch.Tensor:
    """Which of K terms pay in this step what they have earned so far, as bool (B, K). At an episode's end all do."""
    over = transition.turn_ended & (transition.after.finish != LIVE)
    due = {None: torch.ones_like(over), "turn": transition.turn_ended, "episode": over}
    return torch.stack([due[part.held_until] for part in parts], dim=1)
