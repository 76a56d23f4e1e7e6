"""Numbers over all feedback, for the board: each piece of feedback is read once, however often the board is shown."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import islice
from typing import Any

from dyngen_agents.feedback.store import FeedbackStore

SHOWN = 500  # ratings that are drawn, the latest


class Board:
    """Counts what people have said about the agent's turns. Feedback is only ever added, so a look reads what is new;
    where somebody was forgotten, it counts again from the beginning. Any thread may ask.

    Args:
        store: which may be written by other processes, too.
    """

    def __init__(self, store: FeedbackStore):
        self.store, self._lock = store, threading.Lock()
        self._begin(forgotten=0)

    def _begin(self, forgotten: int) -> None:
        self._forgotten = forgotten  # how often somebody had been forgotten by the time of the count
        self._last = 0  # the id of the last feedback that was counted
        self._people: set[int] = set()
        self._kinds: Counter[str] = Counter()
        # Of each turn and person the latest rating, as (when, value), in the order in which they were given.
        self._ratings: dict[tuple[tuple[int, ...], int], tuple[float, float]] = {}

    def numbers(self) -> dict[str, Any]:
        """What the board shows, in values that JSON can hold, without who they are or what they said."""
        with self._lock:
            with self.store.at_one_moment():
                forgotten = len(self.store.forgotten())
                if forgotten != self._forgotten:
                    self._begin(forgotten)
                new = self.store.feedback(since=self._last, role="agent")
                waiting = self.store.count_waiting()
            for said in new:
                self._last = said.id
                self._people.add(said.person.id)
                self._kinds[said.kind] += 1
                if said.kind == "rating":
                    about = said.turns, said.person.id
                    self._ratings.pop(about, None)
                    self._ratings[about] = said.created, said.value
            values = [value for _, value in self._ratings.values()]
            return {
                "people": len(self._people),
                "kinds": dict(self._kinds),
                "ratings": [*islice(reversed(self._ratings.values()), SHOWN)][::-1],
                "rated": len(values),
                "mean_rating": sum(values) / len(values) if values else None,
                "waiting": waiting,
            }
