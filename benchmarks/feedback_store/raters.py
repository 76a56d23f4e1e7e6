"""Eight raters share the tasks of a queue through HTTP: k answers a text, no text twice to anybody, no lease stuck."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.feedback_store.serving import Client, in_threads, serving, store_with_turns
from dyngen_agents.feedback.agreement import agreement
from dyngen_agents.feedback.exchange import export_rows
from dyngen_agents.feedback.store import FeedbackStore


def raters(folder: Path, texts: int, people: int = 8, k: int = 3) -> dict[str, Any]:
    """All texts are rated by k people; one rater in seven leaves without an answer, and the lease of 0.3 s expires."""
    path = folder / "raters.db"
    turns = store_with_turns(path, texts)
    with FeedbackStore(path) as store, store.at_once():
        for turn in turns:
            store.enqueue("rating", turn, raters=k)
    left = Counter[str]()
    with serving(path) as server:

        def work(number: int) -> None:
            client, rng, idle = Client(server.port), random.Random(number), 0
            while idle < 4:  # longer than a lease
                lease = client.post("/lease", person=f"rater {number}", seconds=0.3)
                if lease is None:
                    idle += 1
                    time.sleep(0.15)
                    continue
                idle = 0
                if rng.random() < 1 / 7:
                    left["leases left"] += 1
                    time.sleep(0.35)
                    continue
                value = max(-4, min(4, round(lease["task"] % 9 - 4 + rng.gauss(0, 1.5))))
                client.post("/submit", lease=lease["lease"], value=value, key=f"{number}-{lease['lease']}")

        in_threads(people, work)
    with FeedbackStore(path, create=False) as store:
        waiting, given = len(store.waiting()), store.feedback()
        found = agreement(given, "rating")
        rows = export_rows(store, "trajectories").rows
    by_text = Counter(each.turns for each in given)
    twice = Counter((each.person.id, each.turns) for each in given)
    return {
        "people": people,
        "texts": texts,
        "answers a text": sorted(set(by_text.values())),
        "left without an answer": left["leases left"],
        "twice to one person": sum(count > 1 for count in twice.values()),
        "tasks still waiting": waiting,
        "alpha": found.alpha,
        "alpha of the exported table": _alpha_of_export(rows),
    }


def _alpha_of_export(rows: list[dict[str, Any]]) -> float:
    """Krippendorff's alpha by the package from the exported rows alone."""
    import krippendorff
    import numpy as np

    given = {
        (each["person"], each["turns"][0]): each["value"]
        for row in rows
        for each in json.loads(row["record"])["feedback"]
    }
    people, texts = (sorted(set(names)) for names in zip(*given, strict=True))
    table = [[given.get((person, text), np.nan) for text in texts] for person in people]
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement="interval"))


def speed(folder: Path, seconds: float, people: int = 8, model: str | None = None) -> dict[str, Any]:
    """Ratings a second of so many raters at once, and how long an acknowledgement takes.

    Args:
        model: which writes texts in the server's process meanwhile.
    """
    path = folder / f"speed-{model}.db"
    turns = store_with_turns(path, people)
    waits: list[list[float]] = [[] for _ in range(people)]
    with serving(path, options=("--generate", model) if model else ()) as server:
        if model:
            while not Path(f"{path}.generating").exists():
                time.sleep(0.1)
        Client(server.port).post("/rate", person="warm", turn=turns[0].id, value=0, key="up")
        end = time.monotonic() + seconds

        def rate(number: int) -> None:
            client = Client(server.port)
            while (start := time.monotonic()) < end:
                key = f"{number}-{len(waits[number])}"
                client.post("/rate", person=f"rater {number}", turn=turns[number].id, value=1, key=key)
                waits[number].append(time.monotonic() - start)

        in_threads(people, rate)
    every = sorted(wait for of_rater in waits for wait in of_rater)
    with FeedbackStore(path, create=False) as store:
        assert store.size()[2] == len(every) + 1
    return {
        "raters": people,
        "generating": model or "nothing",
        "ratings a second": len(every) / seconds,
        "median, ms": 1000 * statistics.median(every),
        "p95, ms": 1000 * every[int(0.95 * len(every))],
    }
