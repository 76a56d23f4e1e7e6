"""What a step of B rows would do, as tensors, before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from dyngen_env.envs.reward_ledger import Entry
from dyngen_env.mdp.state import TokenState


class Unread(Sequence[Any]):
    """What a reward that says `on_tokens` must not read."""

    def __len__(self) -> int:
        raise TypeError("a reward with on_tokens=True reads the tensors of a transition, not its rows or texts")

    def __getitem__(self, index):
        return len(self)


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
