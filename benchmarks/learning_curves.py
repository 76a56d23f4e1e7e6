"""Several runs in one figure: `python -m benchmarks.learning_curves RUN [RUN ...] --out curves.png`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dyngen_agents.evaluation.drawing import FAINT, INK, running_mean
from dyngen_agents.training.learning_curve import PANELS


def draw(runs: list[Path], out: Path, title: str) -> None:
    """One panel a measure; a thin line for each run, smoothed, and a thick one for their mean."""
    curves = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
    length = min(map(len, curves))
    window = 9 if length >= 30 else 1  # a mean over most of a short run would hide it
    figure = Figure(figsize=(13.5, 4.2), dpi=100, layout="constrained")
    figure.suptitle(f"{title} ({len(runs)} seed{'s' * (len(runs) > 1)})", fontsize=13, color=INK, x=0.01, ha="left")
    for axes, (name, label, colour) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        values = np.array([[record[name] for record in curve[:length]] for curve in curves])  # (seeds, updates)
        updates = np.arange(1, length + 1)
        for row in values:
            axes.plot(updates, running_mean(row, window), color=colour, alpha=0.35, linewidth=1.2)
        axes.plot(updates, running_mean(values.mean(0), window), color=colour, linewidth=2.2)
        axes.set_title(f"{label}: {values[:, -5:].mean():.2f}", fontsize=11, color=colour, loc="left")
        axes.set_xlabel("update", color=INK)
        axes.grid(color=FAINT, linewidth=0.8)
        axes.tick_params(colors=INK, length=0)
        axes.spines[:].set_visible(False)
    figure.savefig(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("learning_curves.png"))
    parser.add_argument("--title", default="reviews-lm learns by PPO in dyngen/Sentiment-v0")
    arguments = parser.parse_args()
    draw(arguments.runs, arguments.out, arguments.title)
