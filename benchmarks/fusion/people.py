"""What runs learn from people, by the ways to ask them: `python -m benchmarks.fusion people --arm once rounds`.

dyngen/Sentiment-v0 with reviews-lm. The people are simulated: each rates a completion as the model of 13,000 sentences
that people rated does (`human_rating`), with the scatter of the people behind the film reviews. They work on the store
as the page does. All arms but the third have 512 ratings:

    once      the untrained model writes, people rate later, and one run learns by `--feedback`
    rounds    the same in four rounds: each run goes on from the last, writes, and learns from everything so far
    model     the ratings of `once` train a model that pays, and people rate one in ten turns of the run, or more
    wait      every turn of the run waits for people

Shown is the mean rating that people would give on unseen prompts, and of how many ratings that is the work. An arm and
a seed are a line of --out; `--show` prints the table of all lines.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.fusion._arms import keep, kept, parse
from dyngen_agents import PPOConfig, TrainConfig, evaluate, train
from dyngen_agents.cli.record import Record
from dyngen_agents.feedback.store import FeedbackStore
from dyngen_agents.reward_models.from_store import rated_in
from dyngen_agents.training.progress import NoProgress
from dyngen_env.envs.options import TaskOptions
from dyngen_env.rewards import HumanRating
from dyngen_env.scoring.human_rating import human_rating
from dyngen_env.scoring.raters import draw_rating
from dyngen_env.scoring.rating_process import fitted

BASE = TrainConfig(updates=20, episodes=64, num_envs=64)
RATINGS, ROUNDS = 512, 4
ARMS = {
    "once": "rated once, then learned from",
    "rounds": f"rated in {ROUNDS} rounds",
    "model": "a model pays, people rate a tenth",
    "wait": "every turn waits for people",
}
PEOPLE = 3


def main() -> None:
    arguments = parse(__doc__, ARMS, BASE.updates, "runs/fusion", "people.jsonl", "2 updates of 16 episodes")
    settings = replace(BASE, updates=arguments.updates)
    ratings = RATINGS
    if arguments.quick:
        settings, ratings = replace(settings, updates=2, episodes=16, num_envs=16), 64
        arguments.episodes = 32
    for seed in arguments.seed:
        for name in arguments.arm:
            line = run(name, replace(settings, seed=seed), arguments, ratings)
            keep(arguments.out, [line])
            sys.stderr.write(f"{name}, seed {seed}: {line['rating']:+.3f} from {line['untrained']:+.3f}\n")
    if arguments.show or not arguments.arm:
        Console().print(table(kept(arguments.out)))


def run(name: str, settings: TrainConfig, arguments: argparse.Namespace, ratings: int) -> dict[str, Any]:
    """Train an arm with a seed, and evaluate it by what people would rate: a line of the table."""
    folder = arguments.runs / f"people-{name}-{settings.seed}"
    folder.mkdir(parents=True)
    store, people = str(folder / "feedback.db"), f"human({str(folder / 'feedback.db')!r}"
    with at_work(store):
        if name == "wait":
            settings = replace(settings, updates=max(1, ratings // settings.episodes))
            last = learn(settings, folder / "run", reward=f"{people})")
        elif name == "rounds":
            last = in_rounds(settings, folder, people, store, ratings)
        else:
            write(settings, folder / "written", f"{people}, 'deferred')", store, ratings)
            if name == "once":
                last = learn(settings, folder / "run", feedback=store)
            else:
                file, rated = folder / "model.npz", rated_in(store)
                fitted([each.text for each in rated], [each.rating for each in rated]).save(file)
                last = learn(settings, folder / "run", reward=f"{people}, 'model', model={str(file)!r}, share=0.1)")
    with FeedbackStore(store) as opened:
        given = len(opened.feedback())
    figures = evaluate(last, arguments.episodes, reward=HumanRating())
    before = evaluate(folder / "run-0", arguments.episodes, reward=HumanRating()) if name == "rounds" else figures
    rating, untrained = figures["trained"]["reward_mean"], before["untrained"]["reward_mean"]
    return {"arm": name, "seed": settings.seed, "ratings": given, "rating": 4 * rating, "untrained": 4 * untrained}


def in_rounds(settings: TrainConfig, folder: Path, people: str, store: str, ratings: int) -> Path:
    """Each round's run goes on from the last one's model, writes, and learns from everything that is rated."""
    last = settings.model
    for number in range(ROUNDS):
        now = replace(settings, model=last, updates=settings.updates // ROUNDS or 1, seed=settings.seed + 1000 * number)
        write(now, folder / f"written-{number}", f"{people}, 'deferred')", store, ratings // ROUNDS)
        last = str(learn(now, folder / f"run-{number}", feedback=store))
    return Path(str(last))


def learn(settings: TrainConfig, out: Path, **changes: Any) -> Path:
    return train(replace(settings, out=str(out), **changes), PPOConfig(), progress=NoProgress())


def write(settings: TrainConfig, out: Path, reward: str, store: str, count: int) -> None:
    """The model of the settings writes `count` completions, and people rate all of them."""
    task = TaskOptions(reward=reward)
    env = settings.env if settings.model is None else None
    Record(out=str(out), env=env, policy=settings.model, episodes=count, task=task, seed=settings.seed).execute()
    with FeedbackStore(store) as opened:
        while opened.waiting():
            threading.Event().wait(0.05)


@contextmanager
def at_work(store: str) -> Iterator[None]:
    """Simulated people who rate what waits in the store until the block ends."""
    done = threading.Event()
    FeedbackStore(store).close()  # it is there before several open it at once

    def work(person: str) -> None:
        with FeedbackStore(store) as opened:
            who = opened.person(person)
            while not done.wait(0.1):
                while (lease := opened.lease(who, 60.0)) is not None:
                    opened.submit(lease, rating_of(opened.turn(lease.task.turns[0]).text), key=str(lease.id))

    threads = [threading.Thread(target=work, args=(f"person {i}",)) for i in range(PEOPLE)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def rating_of(text: str) -> int:
    """What one person gives; the same for equal texts."""
    return draw_rating(human_rating(text), 1.0, np.random.default_rng(zlib.crc32(text.encode())))


def table(lines: list[dict[str, Any]]) -> Table:
    """An arm a row; means over seeds, and their range where there are several."""
    shown = Table("how people are asked", "seeds", "ratings", "mean rating", "before", title="ratings from -4 to +4")
    for name, about in ARMS.items():
        rows = [line for line in lines if line["arm"] == name]
        if rows:
            figures = ([row[key] for row in rows] for key in ("ratings", "rating", "untrained"))
            shown.add_row(about, str(len(rows)), *map(_cell, figures))
    return shown


def _cell(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.3g}"
    return mean if len(values) < 2 else f"{mean} ({min(values):.3g} to {max(values):.3g})"
