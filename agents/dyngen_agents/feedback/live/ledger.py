"""What a live learner and the store of feedback must agree on: who was forgotten, and which version learned from what.

A person can be forgotten by another process, while the learner holds their words in memory. So it asks before each turn
and each update, and learns from nothing that the store no longer has. And each version is booked before it serves, so
that whoever forgets somebody later is told of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from dyngen_agents.feedback.store import FeedbackStore


class Ledger(Protocol):
    """Where a learner's feedback comes from. Several threads may ask."""

    def forgotten(self) -> int:
        """How often somebody has been forgotten so far. Asked before each turn, so it has to be cheap."""

    def missing(self, feedback: Iterable[int | str]) -> set[int | str]:
        """Those of these ids whose feedback is no longer there."""

    def book(self, version: str, feedback: Iterable[int | str]) -> None:
        """Note that a version knows this feedback, which may be gone in part. What it raises keeps the version out."""


class NoLedger:
    """Of a learner that is told of turns which nobody else keeps: nobody is forgotten, and nothing is booked."""

    def forgotten(self) -> int:
        """See `Ledger`."""
        return 0

    def missing(self, feedback: Iterable[int | str]) -> set[int | str]:
        """See `Ledger`."""
        return set()

    def book(self, version: str, feedback: Iterable[int | str]) -> None:
        """See `Ledger`."""


class StoreLedger:
    """A store as a ledger.

    Args:
        store: it has the feedback. folder: of the versions, each of which is a run to the store.
    """

    def __init__(self, store: FeedbackStore, folder: Path):
        self.store, self.folder = store, folder

    def forgotten(self) -> int:
        """See `Ledger`."""
        return len(self.store.forgotten())

    def missing(self, feedback: Iterable[int | str]) -> set[int | str]:
        """See `Ledger`."""
        return set(self.store.missing(map(int, feedback)))

    def book(self, version: str, feedback: Iterable[int | str]) -> None:
        """See `Ledger`."""
        ids = [int(number) for number in feedback]
        with self.store.at_once():  # nobody is forgotten between the two
            gone = self.store.missing(ids)
            self.store.used_by(self.folder / version, [number for number in ids if number not in gone])
