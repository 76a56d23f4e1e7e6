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

An arm and a seed are a line of --out, so that they can be run one at a time; --show prints the tables of all lines.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.fusion._arms import keep, kept
from benchmarks.live_learning._people import Session, session
from benchmarks.live_learning._served import Served
from benchmarks.live_learning._stalls import stalls
from dyngen_env.scoring.diversity import distinct_n

TURNS = 24
SHARING = 200  # sessions that share a taste
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
            for line in lines(arm, seed, arguments):
                keep(arguments.out, [line])
                sys.stderr.write(f"{arm}, seed {seed}: {line['seconds']:.0f} s\n")
    if arguments.stalls:
        Console().print(stalls(arguments.model))
    if arguments.show:
        for table in tables(kept(arguments.out)):
            Console().print(table)


def lines(arm: str, seed: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What a seed of an arm gave: a line, or one for each wish that is shared."""
    count, turns = (2, 20) if arguments.quick else (arguments.sessions, TURNS)
    if not arguments.shared:
        return [line(arm, seed, None, arguments, count, turns)]
    count, turns = (2, 4) if arguments.quick else (SHARING, 4)
    return [line(arm, seed, wish, arguments, count, turns) for wish in arguments.shared]


def line(
    arm: str, seed: int, wish: str | None, arguments: argparse.Namespace, sessions: int, turns: int
) -> dict[str, Any]:
    """Ratings and figures of so many sessions, as values that JSON can hold."""
    begun = time.perf_counter()
    model = Served(arguments.memory_model if arm in ("memory", "both") else arguments.model, ARMS[arm])
    had: list[Session] = []
    try:
        for number in range(sessions):
            if wish is None:
                model.forget()
            one = session(model, number, seed, turns, wish)
            had.append(replace(one, kl=model.kl()))
    finally:
        model.close()
    return dict(
        arm=arm, seed=seed, shared=wish, seconds=time.perf_counter() - begun,
        wishes=[one.wish for one in had], ratings=[list(one.ratings) for one in had], kl=[one.kl for one in had],
        early_distinct_2=[distinct_n(one.texts[EARLY], 2) for one in had],
        late_distinct_2=[distinct_n(one.texts[LAST], 2) for one in had],
        texts=[list(one.texts) for one in had],
    )  # fmt: skip


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
        ratings = np.array([session for one in rows for session in one["ratings"]], dtype=float)  # (sessions, turns)
        early, late = ratings[:, EARLY].mean(1), ratings[:, LATE].mean(1)
        each = " ".join(f"{_gain(one):+.2f}" for one in rows)
        after = significant_after(ratings)
        distinct = [
            statistics.fmean(x for one in rows for x in one[name]) for name in ("early_distinct_2", "late_distinct_2")
        ]
        shown.add_row(
            arm, str(len(rows)), str(len(ratings)), interval(early), interval(late),
            f"{interval(late - early)} ({each})", "never" if after is None else f"{after} ratings",
            f"{distinct[0]:.2f} → {distinct[1]:.2f}", f"{statistics.fmean(x for one in rows for x in one['kl']):.2f}",
        )  # fmt: skip
    return shown


def shared_table(of: Sequence[dict[str, Any]]) -> Table:
    """An arm and a wish a row: the mean rating of the first turn of a session, and of all, in quarters of the run."""
    shown = Table("arm", "wish", "seeds", "turn", "sessions 1-50", "51-100", "101-150", "151-200", "nats a token")
    for arm, wish in dict.fromkeys((one["arm"], one["shared"]) for one in of):
        rows = [one for one in of if (one["arm"], one["shared"]) == (arm, wish)]
        ratings = np.array([one["ratings"] for one in rows], dtype=float)  # (seeds, sessions, turns)
        for name, part in (("first", ratings[:, :, :1]), ("all", ratings)):
            quarters = np.array_split(part.mean(2), 4, axis=1)
            kl = statistics.fmean(one["kl"][-1] for one in rows)
            shown.add_row(arm, wish, str(len(rows)), name, *(interval(q.flatten()) for q in quarters), f"{kl:.2f}")
    return shown


def significant_after(ratings: np.ndarray) -> int | None:
    """The number of ratings from which on the mean of the latest five lies above that of the first five by a disjoint
    95% interval. ratings: (sessions, turns)."""
    first = ratings[:, EARLY].mean(1)
    for end in range(10, ratings.shape[1] + 1):
        latest = ratings[:, end - 5 : end].mean(1)
        if latest.mean() - half(latest) > first.mean() + half(first):
            return end
    return None


def half(values: np.ndarray) -> float:
    """Half the 95% interval of a mean."""
    return 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5


def interval(values: np.ndarray) -> str:
    """A mean with its 95% interval."""
    return f"{values.mean():+.2f} ± {half(values):.2f}"


def _gain(one: dict[str, Any]) -> float:
    ratings = np.array(one["ratings"], dtype=float)
    return float(ratings[:, LATE].mean() - ratings[:, EARLY].mean())


if __name__ == "__main__":
    main()
