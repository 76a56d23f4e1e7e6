"""Reward against KL while learning: `python -m benchmarks.frontier ppo=RUN,RUN reinforce=RUN,RUN grpo=RUN --out F.png`.

Each run's metrics.jsonl gives a path from the untrained model (KL 0) to the trained one. Where two algorithms stand at
equal KL, the one with the higher reward bought more for its distance from the reference model (Gao et al. 2023 compare
along the square root of the KL, in which the reward of the best of n samples is nearly straight).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dyngen_agents.training.learning_curve import FAINT, INK, running_mean

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito's palette
WINDOW = 7  # updates of a running mean
MARKS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)  # nats per episode at which the table compares


def path_of(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """(updates,) KL in nats per episode and (updates,) reward, both as running means."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kl, reward = (np.array([record[name] for record in records]) for name in ("kl", "reward"))
    return running_mean(kl, WINDOW), running_mean(reward, WINDOW)


def reward_at(kl: np.ndarray, reward: np.ndarray, mark: float) -> float:
    """The reward where the path first reaches `mark` nats; NaN if it never does."""
    reached = np.flatnonzero(kl >= mark)
    return float(reward[reached[0]]) if len(reached) else float("nan")


def draw(runs: dict[str, list[Path]], out: Path) -> str:
    """Draw all paths into `out`, and return a Markdown table of the mean reward at equal KL."""
    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    rows = [f"| algorithm (seeds) | {' | '.join(f'{mark:g} nats' for mark in MARKS)} | last: reward, KL |"]
    rows.append("|---" * (len(MARKS) + 2) + "|")
    for (name, folders), colour in zip(runs.items(), COLOURS, strict=False):
        paths = [path_of(folder) for folder in folders]
        for i, (kl, reward) in enumerate(paths):
            axes.plot(
                np.sqrt(kl.clip(0)), reward, color=colour, linewidth=1.4, alpha=0.8, label=name if not i else None
            )
            axes.plot(np.sqrt(kl[-1:]), reward[-1:], "o", color=colour, markersize=5)
        at = [np.array([reward_at(kl, reward, mark) for kl, reward in paths]) for mark in MARKS]
        cells = [f"{np.nanmean(values):.2f}" if not np.isnan(values).all() else "-" for values in at]
        last = f"{np.mean([r[-1] for _, r in paths]):.2f}, {np.mean([k[-1] for k, _ in paths]):.1f}"
        rows.append(f"| {name} ({len(folders)}) | {' | '.join(cells)} | {last} |")
    axes.set_xlabel("square root of the KL from the untrained model, nats per episode", color=INK)
    axes.set_ylabel("reward (VADER), running mean of training episodes", color=INK)
    axes.set_title("What a nat buys in dyngen/Sentiment-v0", loc="left", color=INK)
    axes.legend(frameon=False, loc="lower right")
    axes.grid(color=FAINT, linewidth=0.8)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(out)
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="name=RUN,RUN,...")
    parser.add_argument("--out", type=Path, default=Path("frontier.png"))
    arguments = parser.parse_args()
    named = dict(argument.split("=", 1) for argument in arguments.runs)
    print(draw({name: [Path(run) for run in paths.split(",")] for name, paths in named.items()}, arguments.out))
