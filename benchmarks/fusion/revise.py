"""Is a second draft better than the first? `python -m benchmarks.fusion revise --arm words --seed 0`.

The agent is trained in dyngen/Dialogue-v0 with dialogue-lm, 30 updates of 128 dialogues, by users who send a turn that
they dislike back once (`simulated(drafts=2)`) and say what is missing, or for some persons and now and then only that
something is. What is compared over 384 dialogues with prompts that were not trained on: the rating of the second draft
less that of the first, which was disliked, or it would not have been sent back. A part of the difference is chance, as
after any bad draw: the arm "blind", whose users say nothing, shows how much. Intervals are over dialogues, in which the
differences count together. An arm and a seed are a line of --out; `--show` prints the table of all lines.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.fusion._arms import keep, kept, parse
from dyngen_agents import PPOConfig, TrainConfig, evaluate, train
from dyngen_agents.data.episodes import EPISODES, Episode, read_episodes
from dyngen_agents.evaluation.intervals import half_interval, t_quantile
from dyngen_env.users import SimulatedUser

# A turn of 20 tokens and its answer of 20 at most, written twice, four times.
BASE = TrainConfig(
    env="dyngen/Dialogue-v0", model="dialogue-lm", updates=30, user="simulated(drafts=2)", max_context_tokens=352
)
PPO = PPOConfig(learning_rate=1e-3, kl_coef=0.02)
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "words": ("the draft stays in the context", {}),
    "hidden": ("the draft is taken out of the context", dict(drafts="hidden")),
    "blind": ("the user says nothing", dict(user="muted(simulated(drafts=2))")),
}
FIGURES = {"all": "second − first", "why": "where they said why", "first": "first draft", "later": "rating, turns 2+"}


def main() -> None:
    arguments = parse(__doc__, ARMS, BASE.updates, "runs/fusion", "revise.jsonl", "2 updates of 16 dialogues")
    if arguments.quick:
        arguments.updates, arguments.episodes = 2, 32
    for seed in arguments.seed:
        for name in arguments.arm:
            lines = run(name, seed, arguments)
            keep(arguments.out, lines)
            sys.stderr.write(f"{name}, seed {seed}: {lines[0]['all']:+.2f} ± {lines[0]['all_ci95']:.2f}\n")
    if arguments.show or not arguments.arm:
        Console().print(table(kept(arguments.out)))


def run(name: str, seed: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train an arm with a seed and evaluate it: a line for the trained model, and one for the untrained."""
    (about, settings), folder = ARMS[name], arguments.runs / f"revise-{name}-{seed}"
    config = replace(BASE, updates=arguments.updates, seed=seed, out=str(folder), **settings)
    if arguments.quick:
        config = replace(config, episodes=16, num_envs=16)
    begun = time.process_time()
    train(config, PPO)
    seconds = time.process_time() - begun
    figures, episodes = evaluate(folder, arguments.episodes), read_episodes(folder / EPISODES)
    return [
        dict(arm=name, about=f"{who}, {about}", seed=seed, updates=config.updates, cpu_seconds=round(seconds))
        | second_drafts([episode for episode in episodes if episode.policy == who])
        | {"later": figures[who].get("rating_later"), "kl_per_token": figures[who]["kl_per_token"]}
        for who in ("trained", "untrained")
    ]


def second_drafts(episodes: Sequence[Episode]) -> dict[str, float]:
    """Means and intervals of the ratings' differences, "all" and where the user had said "why"; the "first" drafts'."""
    asks = [ask for preference in SimulatedUser().population.preferences.values() for ask in preference.asks]
    pairs = [
        (number, before, after)
        for number, episode in enumerate(episodes)
        for before, after in pairwise(episode.feedback)
        if before.revise
    ]
    figures: dict[str, float] = {"drafts": len(pairs), "first": statistics.fmean(a.rating for _, a, _ in pairs)}  # type: ignore[misc]
    told = [pair for pair in pairs if any(ask in pair[1].text for ask in asks)]
    for name, some in (("all", pairs), ("why", told)):
        if len(some) > 1:
            gains = [after.rating - before.rating for _, before, after in some]  # type: ignore[operator]
            figures |= {name: statistics.fmean(gains), f"{name}_ci95": half_interval(gains, [n for n, *_ in some])}
    return figures


def table(lines: list[dict[str, Any]]) -> Table:
    """An arm a row; over several seeds Student's interval, of one seed that over its dialogues."""
    shown = Table("agent", "seeds", *FIGURES.values(), "nats a token", title="ratings from -4 to +4")
    by_agent: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_agent.setdefault(line["about"], []).append(line)
    for about, rows in by_agent.items():
        cells = [_cell([row[name] for row in rows if row.get(name) is not None], rows[0], name) for name in FIGURES]
        kl = statistics.fmean(row["kl_per_token"] for row in rows)
        shown.add_row(about, str(len(rows)), *cells, f"{kl:.2f}")
    return shown


def _cell(values: list[float], row: dict[str, Any], name: str) -> str:
    if not values:
        return ""
    half = row.get(f"{name}_ci95")
    if len(values) > 1:
        half = t_quantile(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values):+.2f}" + ("" if half is None else f" ± {half:.2f}")


if __name__ == "__main__":
    main()
