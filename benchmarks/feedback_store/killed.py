"""Raters write through HTTP while the server is killed by SIGKILL: is every acknowledged rating there, once?"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.feedback_store.serving import Client, in_threads, serving, store_with_turns
from dyngen_agents.feedback.store import FeedbackStore


def killed(folder: Path, kills: int, raters: int = 8) -> dict[str, Any]:
    """Counts of what was acknowledged, lost, doubled and changed."""
    path, rng = folder / "killed.db", random.Random(0)
    turns = store_with_turns(path, raters)
    acknowledged: list[dict[str, int]] = [{} for _ in range(raters)]
    attempts, over = Counter[int](), False
    with serving(path) as server:

        def rate(number: int) -> None:
            client = Client(server.port)
            while not over:
                key = f"{number}-{len(acknowledged[number])}"
                value = random.Random(key).randint(-4, 4)
                client.post("/rate", person=f"rater {number}", turn=turns[number].id, value=value, key=key)
                acknowledged[number][key] = value
            attempts[number] = client.attempts

        def kill(_: int) -> None:
            nonlocal over
            for count in range(kills):
                time.sleep(rng.uniform(0.02, 0.15))
                before = sum(map(len, acknowledged))
                server.kill()
                while len(server.started) < count + 2 or sum(map(len, acknowledged)) == before:
                    time.sleep(0.002)  # it is back, and has answered
            over = True

        in_threads(raters + 1, lambda number: rate(number) if number < raters else kill(number))
    with FeedbackStore(path, create=False) as store:
        stored = store.feedback()
        with store.connection.reading() as database:
            [whole] = database.execute("PRAGMA integrity_check").fetchone()
    found = Counter((given.person.name, given.key) for given in stored)
    values = {given.key: given.value for given in stored}
    wanted = {key: value for of_rater in acknowledged for key, value in of_rater.items()}
    return {
        "raters": raters,
        "kills": kills,
        "acknowledged": len(wanted),
        "attempts": sum(attempts.values()),
        "lost": sum(key not in values for key in wanted),
        "doubled": sum(count > 1 for count in found.values()),
        "changed": sum(values.get(key, value) != value for key, value in wanted.items()),
        "integrity": whole,
    }
