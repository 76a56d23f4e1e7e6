"""Is the feedback used? `python -m benchmarks.dialogue [--json PATH] [--picture PATH]`.

The same agent is trained in dyngen/Dialogue-v0 twice: with a user whose words it hears, and with one who rates and
leaves in the same way but says nothing ("muted"). Both begin with the same model and have the same budget. What differs
between them in turns 2 and later is what hearing is worth.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.harness import machine, versions
from dyngen_agents import PPOConfig, TrainConfig, evaluate, train
from dyngen_agents.evaluation.drawing import FAINT, INK, running_mean
from dyngen_agents.evaluation.intervals import t_quantile

USERS = {"hears": "simulated", "blind": "muted(simulated)"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dialogue-lm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--episodes", type=int, default=384, help="dialogues of each evaluation")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--kl-coef", type=float, default=0.02)
    parser.add_argument("--users", nargs="+", default=list(USERS), choices=list(USERS))
    parser.add_argument("--runs", type=Path, default=Path("runs/dialogue"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="learning curves of all runs in --runs, as PNG")
    arguments = parser.parse_args()
    base = TrainConfig(env="dyngen/Dialogue-v0", model=arguments.model, updates=arguments.updates)
    algorithm = PPOConfig(learning_rate=arguments.learning_rate, kl_coef=arguments.kl_coef)
    rows = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for name in arguments.users:
            folder = arguments.runs / f"{name}-{seed}"
            train(replace(base, user=USERS[name], seed=seed, out=str(folder)), algorithm)
            record = json.loads((folder / "run.json").read_text())
            for who, figures in evaluate(folder, arguments.episodes).items():
                if who == "trained" or name == "hears":  # the untrained model, heard by its users once a seed
                    agent = name if who == "trained" else "untrained"
                    rows.append(dict(seed=seed, agent=agent, seconds=record["seconds"], **figures))
            if arguments.json:
                report = {"rows": rows, "machine": machine("cpu"), "versions": versions()}
                arguments.json.write_text(json.dumps(report, indent=2) + "\n")
            sys.stderr.write(f"seed {seed} {name}: {rows[-1]['rating_by_turn']}\n")
    Console().print(table(rows))
    if arguments.picture:
        draw(arguments.runs, arguments.picture)


def draw(runs: Path, out: Path) -> None:
    """The mean return of each update's dialogues: a thin line a seed, a thick one for their mean."""
    figure = Figure(figsize=(7.5, 3.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    for name, colour in (("hears", "#2a78d6"), ("blind", "#9a9892")):
        logs = [path.read_text().splitlines() for path in sorted(runs.glob(f"{name}-*/metrics.jsonl"))]
        curves = np.array([[json.loads(line)["reward"] for line in log] for log in logs])  # (seeds, updates)
        updates = np.arange(1, curves.shape[1] + 1)
        for curve in curves:
            axes.plot(updates, running_mean(curve, 3), color=colour, alpha=0.35, linewidth=1.2)
        mean = running_mean(curves.mean(0), 3)
        axes.plot(updates, mean, color=colour, linewidth=2.4)
        axes.annotate(name, (updates[-1], mean[-1]), (6, 0), textcoords="offset points", color=colour, va="center")
    axes.set_xlabel("update of 128 dialogues", color=INK)
    axes.set_title("return of a dialogue while learning", fontsize=11, color=INK, loc="left")
    axes.grid(color=FAINT, linewidth=0.8)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(out)


def table(rows: list[dict]) -> Table:
    """Mean rating in turns 2 and later, for each seed with the interval over dialogues, and over the seeds."""
    agents = [name for name in ("hears", "blind", "untrained") if any(row["agent"] == name for row in rows)]
    shown = Table("seed", *agents, title="mean rating in turns 2 and later, -4 to +4, 95% interval")
    of = {(row["seed"], row["agent"]): row for row in rows}
    for seed in sorted({row["seed"] for row in rows}):
        cells = [of[seed, agent] for agent in agents]
        shown.add_row(str(seed), *(f"{r['rating_later']:+.2f} ± {r['rating_later_ci95']:.2f}" for r in cells))
    means = [[row["rating_later"] for row in rows if row["agent"] == agent] for agent in agents]
    if len(means[0]) > 1:
        spread = [t_quantile(len(m) - 1) * statistics.stdev(m) / len(m) ** 0.5 for m in means]
        shown.add_row("all", *(f"{statistics.fmean(m):+.2f} ± {s:.2f}" for m, s in zip(means, spread, strict=True)))
    return shown


if __name__ == "__main__":
    main()
