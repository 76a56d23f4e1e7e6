"""Does a model learn from people while they talk? `python -m benchmarks.live_learning [--arm weights] [--seed 0 1 2]`.

Simulated persons of dyngen/Dialogue-v0 with one wish each talk with `dyngen serve` over HTTP: a session is 24 turns in
dialogues of four, each turn rated and answered. What is learned is forgotten before the next session. The arms are
"nothing", "memory" (what the person said, attended to; no words in the context, as that run was trained), "weights"
(updates in the background, words in the context) and "both". What counts is the mean rating of turns 11 to 20 against
that of turns 1 to 5.

`--shared` is the other question: nothing is forgotten, every session is another person's, and all want the same. Do
later sessions begin higher? `--stalls` measures what learning costs those who are served meanwhile.

The runs are `python -m benchmarks.fusion table --arm words memory`. A model that does not do what it is told, as
dialogue-lm itself, has little to distil, and seldom meets by chance what is to be rated higher.

Each session is a line of --out, so that arms and seeds can be run one at a time, and what was interrupted is not lost;
--show prints the tables of all lines.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.fusion._arms import keep, kept
from benchmarks.live_learning._people import session
from benchmarks.live_learning._served import Served
from benchmarks.live_learning._stalls import stalls
from dyngen_env.scoring.diversity import distinct_n

TURNS = 24
SHARING, SHARED_TURNS = 200, 4  # sessions that share a taste, and turns of each
EARLY, LATE, LAST = slice(0, 5), slice(10, 20), slice(15, 20)
ARMS = {"nothing": "off", "memory": "memory", "weights": "weights", "both": "both"}  # as `dyngen serve --learn` says it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=list(ARMS), nargs="+", default=[])
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--sessions", type=int, default=76, help="of each arm and seed; there are 19 wishes")
    parser.add_argument("--model", default="runs/fusion/words-0", help="of the arms without a memory")
    parser.add_argument("--memory-model", default="runs/fusion/memory-0", help="of the others")
    parser.add_argument("--shared", metavar="WISH", nargs="+", default=[], help="wishes that 200 sessions share")
    parser.add_argument("--stalls", action="store_true", help="time of a token while the weights learn")
    parser.add_argument("--quick", action="store_true", help="2 sessions of 20 turns, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("runs/live_learning.jsonl"))
    parser.add_argument("--show", action="store_true", help="print the tables of all lines of --out")
    arguments = parser.parse_args()
    for seed in arguments.seed:
        for arm in arguments.arm:
            for wish in arguments.shared or [None]:
                for line in lines(arm, seed, wish, arguments):
                    keep(arguments.out, [line])
                    told = " ".join(f"{rating:+d}" for rating in line["ratings"])
                    sys.stderr.write(f"{arm}, seed {seed}, {line['wish']}: {told} ({line['seconds']:.0f} s)\n")
    if arguments.stalls:
        Console().print(stalls(arguments.model))
    if arguments.show:
        for table in tables(kept(arguments.out)):
            Console().print(table)


def lines(arm: str, seed: int, wish: str | None, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The sessions of an arm and a seed, as values that JSON can hold. wish: that all share; None: each has its own."""
    sessions, turns = (arguments.sessions, TURNS) if wish is None else (SHARING, SHARED_TURNS)
    if arguments.quick:
        sessions, turns = 2, 20 if wish is None else SHARED_TURNS
    model = Served(arguments.memory_model if arm in ("memory", "both") else arguments.model, ARMS[arm])
    try:
        for number in range(sessions):
            begun = time.perf_counter()
            if wish is None:
                model.forget()
            had = session(model, number, seed, turns, wish)
            yield dict(
                arm=arm, seed=seed, shared=wish, number=number, wish=had.wish, ratings=list(had.ratings),
                kl=model.kl(), early_distinct_2=distinct_n(had.texts[EARLY], 2),
                late_distinct_2=distinct_n(had.texts[LAST], 2), texts=list(had.texts),
                seconds=time.perf_counter() - begun,
            )  # fmt: skip
    finally:
        model.close()


def tables(of: Sequence[dict[str, Any]]) -> list[Table]:
    """What the lines of a file show."""
    own = [one for one in of if one["shared"] is None]
    shared = [one for one in of if one["shared"] is not None]
    return [*([sessions_table(own)] if own else []), *([shared_table(shared)] if shared else [])]


def sessions_table(of: Sequence[dict[str, Any]]) -> Table:
    """An arm a row, all its seeds together: 95% intervals over sessions."""
    shown = Table(
        "arm", "seeds", "sessions", "turns 1-5", "turns 11-20", "difference", "significant after", "distinct-2",
        "nats a token",
    )  # fmt: skip
    for arm in dict.fromkeys(one["arm"] for one in of):
        rows = [one for one in of if one["arm"] == arm]
        ratings = np.array([one["ratings"] for one in rows], dtype=float)  # (sessions, turns)
        early, late = ratings[:, EARLY].mean(1), ratings[:, LATE].mean(1)
        seeds = np.array([one["seed"] for one in rows])
        each = " ".join(f"{(late - early)[seeds == seed].mean():+.2f}" for seed in np.unique(seeds))
        after = significant_after(ratings)
        distinct, later, kl = (
            statistics.fmean(one[name] for one in rows) for name in ("early_distinct_2", "late_distinct_2", "kl")
        )
        shown.add_row(
            arm, str(len(np.unique(seeds))), str(len(rows)), interval(early), interval(late),
            f"{interval(late - early)} ({each})", "never" if after is None else f"{after} ratings",
            f"{distinct:.2f} → {later:.2f}", f"{kl:.2f}",
        )  # fmt: skip
    return shown


def shared_table(of: Sequence[dict[str, Any]]) -> Table:
    """An arm and a wish a row: the mean rating of the first turn of a session, and of all, in quarters of the run."""
    shown = Table("arm", "wish", "seeds", "turn", "sessions 1-50", "51-100", "101-150", "151-200", "nats a token")
    for arm, wish in dict.fromkeys((one["arm"], one["shared"]) for one in of):
        rows = [one for one in of if (one["arm"], one["shared"]) == (arm, wish)]
        last = max(rows, key=lambda one: one["number"])
        for name, turns in (("first", slice(0, 1)), ("all", slice(None))):
            quarters: list[list[float]] = [[], [], [], []]
            for one in rows:
                quarters[4 * one["number"] // SHARING].append(statistics.fmean(one["ratings"][turns]))
            shown.add_row(
                arm, wish, str(len({one["seed"] for one in rows})), name,
                *(interval(np.array(q)) if len(q) > 1 else "" for q in quarters), f"{last['kl']:.2f}",
            )  # fmt: skip
    return shown


def significant_after(ratings: np.ndarray) -> int | None:
    """The number of ratings from which on the mean of the latest five lies above that of the first five, by disjoint
    95% intervals, and stays there. None if it does not. ratings: (sessions, turns)."""
    first, found = ratings[:, EARLY].mean(1), None
    for end in range(ratings.shape[1], 2 * EARLY.stop - 1, -1):
        latest = ratings[:, end - EARLY.stop : end].mean(1)
        if not latest.mean() - half(latest) > first.mean() + half(first):
            break
        found = end
    return found


def half(values: np.ndarray) -> float:
    """Half the 95% interval of a mean."""
    return 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5


def interval(values: np.ndarray) -> str:
    """A mean with its 95% interval."""
    return f"{values.mean():+.2f} ± {half(values):.2f}"


if __name__ == "__main__":
    main()
