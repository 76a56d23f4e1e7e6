"""What a step of B rows would do, as tensors, before it is done; and what rewards are shown of it without the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from dyngen_env.envs.reward_ledger import Entry
from dyngen_env.mdp.state import TokenState
from dyngen_env.types import Transition


class Unread(Sequence[Any]):
    """What stands in a transition in the place of rows and texts where they are not known."""

    def __len__(self) -> int:
        raise TypeError("a reward with on_tokens=True reads the tensors of a transition, not its rows or texts")

    def __getitem__(self, index):
        return len(self)


def tensors_alone(transition: Transition) -> Transition:
    """A transition of which only the tensors can be read: that is all that rewards with `on_tokens` may do."""
    unread = Unread()
    return replace(
        transition, rows=unread, completions=unread, examples=unread, feedback=unread, dialogues=unread,
        playing=unread, talks=unread,
    )  # fmt: skip


class Proposal(NamedTuple):
    """What a step does, before it is done."""

    tokens: Tensor  # (B,) int64, the actions, made to fit
    spoken: TokenState  # after them
    book: Tensor  # (4, B) int64: length, turn_start, stop_state, finish of `spoken`
    marks: Tensor  # (4, B) bool: terminated, truncated, action out of range, what is paid is payable
    begin: Tensor  # (B,) bool, rows that begin a new episode in this step
    entry: Entry  # what is paid; nothing if a term needs the host
    earned: Tensor  # (B, K) float64, what is paid now or later
    rewards: Tensor  # (B,) float32
    counts: Tensor  # (4,) int64, of the marks
