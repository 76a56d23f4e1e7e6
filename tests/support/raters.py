"""Raters at work on a store of feedback, for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from dyngen_agents.feedback.store import FeedbackStore


def answer_all(store: FeedbackStore, person: str, answer: Callable[[str], Any]) -> int:
    """Somebody answers all that waits for them, by the text of the turn; how many tasks that were."""
    who, count = store.person(person), 0
    while (lease := store.lease(who, 60.0)) is not None:
        store.submit(lease, answer(store.turn(lease.task.turns[0]).text), key=f"{person} {lease.id}")
        count += 1
    return count


@contextmanager
def at_work(file: str, **people: Callable[[str], Any]):
    """Several people who answer what waits in a store, each in a thread of their own, until the block ends."""
    done = threading.Event()

    def work(person: str, answer: Callable[[str], Any]) -> None:
        with FeedbackStore(file) as store:
            while not done.wait(0.01):
                answer_all(store, person, answer)

    threads = [threading.Thread(target=work, args=each) for each in people.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
