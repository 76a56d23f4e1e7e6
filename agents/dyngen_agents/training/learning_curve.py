"""The figure of a run: reward, KL per token and entropy over updates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dyngen_agents.evaluation.drawing import FAINT, INK, running_mean

# Okabe and Ito's palette, which colour-blind readers can tell apart.
PANELS = (
    ("reward", "reward per episode", "#0072B2"),
    ("kl_per_token", "KL to the untrained model, nats per token", "#D55E00"),
    ("entropy", "entropy, nats per token", "#009E73"),
)
TASK_COLOURS = ("#0072B2", "#CC79A7", "#E69F00", "#56B4E9")  # of the same palette
LEAST_UPDATES = 8  # below them a running mean is a flat line: the values themselves are joined
LEAST_SPAN = 0.1  # of an ordinate, so that noise about a constant does not look like news


def draw_learning_curve(path: Path, metrics: Sequence[dict[str, Any]], title: str) -> None:
    """Write a PNG of 1350 x 420 pixels: each update's value as a dot, their running mean as a line.

    With fewer than eight updates the line joins the values themselves. Where several tasks are played, each has a panel
    of its own in a second line, which makes 840 pixels.

    Args:
        metrics: records of `metrics.jsonl`, at least one.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    tasks = list(dict.fromkeys(task for record in metrics for task in record.get("tasks", {})))
    lines = 2 if tasks else 1
    figure = Figure(figsize=(13.5, 4.2 * lines), dpi=100)
    figure.suptitle(title, fontsize=13, color=INK, x=0.01, ha="left")
    # The margins are set by hand: finding them costs a second drawing.
    margins: dict[str, Any] = dict(left=0.04, right=0.99, wspace=0.15)
    first = figure.add_gridspec(1, len(PANELS), bottom=1 - 0.88 / lines, top=1 - 0.18 / lines, **margins)
    panels = [
        (figure.add_subplot(place), *panel, [(record["update"], record[panel[0]]) for record in metrics])
        for place, panel in zip(first, PANELS, strict=True)  # type: ignore[call-overload]  # it can be iterated
    ]
    if tasks:
        second = figure.add_gridspec(1, len(tasks), bottom=0.06, top=0.43, **margins)
        panels += [
            (figure.add_subplot(place), "reward", f"{task}, its own reward", TASK_COLOURS[i % len(TASK_COLOURS)],
             [(record["update"], record["tasks"][task]["reward"]) for record in metrics if task in record["tasks"]])
            for i, (place, task) in enumerate(zip(second, tasks, strict=True))  # type: ignore[call-overload]
        ]  # fmt: skip
    for axes, name, label, colour, points in panels:
        updates, values = np.array(points).T
        line = values if len(values) < LEAST_UPDATES else running_mean(values)
        axes.plot(updates, values, "o", color=colour, alpha=0.3, markersize=4, markeredgewidth=0)
        axes.plot(updates, line, color=colour, linewidth=2)
        axes.set_title(f"{label}: {line[-1]:.2f}", fontsize=11, color=colour, loc="left")
        axes.set_xlabel("update", color=INK)
        axes.set_xlim(0, max(2, 1.02 * updates[-1]))
        axes.set_ylim(*_limits(values, floor=0.0 if name == "kl_per_token" else None))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, length=0)
        axes.spines[:].set_visible(False)
    figure.savefig(path)


def _limits(values: np.ndarray, floor: float | None) -> tuple[float, float]:
    """Where an ordinate begins and ends; `floor` is shown in any case."""
    low, high = values.min(), values.max()
    low = low if floor is None else min(low, floor)
    margin = max(0.05 * (high - low), (LEAST_SPAN - (high - low)) / 2)
    return float(low - margin), float(high + margin)
