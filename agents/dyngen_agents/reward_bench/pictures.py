"""The pictures of a bench: the matrix as a heat map, and how each design's reward was learned."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dyngen_agents.evaluation.drawing import FAINT, INK, running_mean
from dyngen_agents.reward_bench.designs import Design
from dyngen_agents.reward_bench.hacking import Verdict
from dyngen_agents.reward_bench.matrix import Cell, Matrix
from dyngen_agents.reward_bench.report import shown
from dyngen_agents.reward_bench.scores import MEASURES, held_out

COLOURS = colormaps["RdBu"]  # red is less than untrained, blue more; colour-blind readers can tell them apart
SCALE = Normalize(-2, 2)  # standard deviations; what is beyond has the last colour
NO_UNIT, FELL = "#eeeeee", "#b2182b"
GAP = 0.3  # columns between the rewards and the other measures
# Okabe and Ito's palette, as in `dyngen_agents.training.learning_curve`.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def draw_matrix(path: Path, designs: Sequence[Design], matrix: Matrix) -> None:
    """Write the matrix as a PNG: rows are policies, columns measures, colours the change from the untrained policy."""
    width, height = len(designs) + GAP + len(MEASURES), len(matrix.rows)
    figure = Figure(figsize=(4.2 + 1.05 * width, 2.3 + 0.62 * height), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    expressions = {design.name: design.expression for design in designs}
    for y, (name, row) in enumerate(matrix.rows.items()):
        _name_row(axes, y, name, expressions.get(name, name))
        for x, design in enumerate(designs):
            _draw_cell(axes, x, y, row.rewards[design.name], boxed=design.name == name)
        outside = {m.key for d in designs if d.name == name for m in held_out(d)}
        verdict = matrix.verdicts.get(name, Verdict())
        for x, m in enumerate(MEASURES, len(designs)):
            own = name in expressions and m.quality and m.key not in outside
            _draw_cell(axes, x + GAP, y, row.measures[m.key], min(2, m.digits), boxed=own, fell=m.key in verdict.fallen)
        falls = [(m.label, row.measures[m.key]) for m in MEASURES if m.key in verdict.fallen]
        _name_falls(axes, width - 0.4, y, verdict.flag, falls)
    labels = [design.name for design in designs] + [m.heading.replace(", ", ",\n") for m in MEASURES]
    axes.set_xticks([x + GAP * (x >= len(designs)) for x in range(len(labels))], labels, fontsize=9.5)
    axes.set_yticks([])
    axes.xaxis.tick_top()
    axes.text(-0.6, -0.68, "trained on ↓    measured by →", ha="right", fontsize=9.5, color=INK)
    titles: dict[str, Any] = dict(ha="center", fontsize=11, weight="bold", color=INK)
    axes.text((len(designs) - 1) / 2, -1.12, "the designs' rewards", **titles)
    axes.text(len(designs) + GAP + (len(MEASURES) - 1) / 2, -1.12, "other measures", **titles)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(SCALE, COLOURS), ax=axes, extend="both", shrink=0.8, aspect=25, pad=0.07)
    bar.set_label("change from untrained,\nstandard deviations of its episodes", color=INK, fontsize=9)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(colors=INK, length=0, labelsize=9)
    figure.supxlabel(
        f"Mean and 95% interval over {matrix.interval}. Boxed: what it was trained on. "
        "Bold without a box: held out, and broke its tie to the own reward.",
        fontsize=9.5, color=INK,
    )  # fmt: skip
    figure.savefig(path)


def _name_row(axes: Axes, y: int, name: str, expression: str) -> None:
    """The expression stands below, unless it is the name."""
    below = expression != name
    axes.text(-0.6, y - 0.14 * below, name, ha="right", va="center", fontsize=11, weight="bold", color=INK)
    if below:
        short = textwrap.shorten(expression, 44, placeholder=" …")
        axes.text(-0.6, y + 0.2, short, ha="right", va="center", fontsize=8, color=INK)


def _name_falls(axes: Axes, x: float, y: int, flag: str, falls: Sequence[tuple[str, Cell]]) -> None:
    """What did not rise with the reward as promised, and how it changed, in standard deviations."""
    lines = [label if cell.effect is None else f"{label} {cell.effect:+.1f}" for label, cell in falls]
    axes.text(x, y - 0.24, flag, color=FELL, weight="bold", va="center", fontsize=11)
    axes.text(x, y - 0.04, "\n".join(lines), color=FELL, va="top", fontsize=8.5)


def _draw_cell(
    axes: Axes, x: float, y: int, cell: Cell, digits: int = 2, *, boxed: bool = False, fell: bool = False
) -> None:
    face = NO_UNIT if cell.effect is None else COLOURS(SCALE(cell.effect))
    red, green, blue = to_rgb(face)
    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.6
    ink = "white" if dark else FELL if fell else INK
    axes.add_patch(Rectangle((x - 0.49, y - 0.48), 0.98, 0.96, facecolor=face, edgecolor="none"))
    if boxed:
        axes.add_patch(Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, fill=False, edgecolor="black", linewidth=2))
    axes.text(
        x, y - 0.12, shown(cell.level.mean, digits), ha="center", va="center", color=ink, fontsize=12.5,
        weight="bold" if fell or boxed else "normal",
    )  # fmt: skip
    axes.text(x, y + 0.24, f"± {cell.level.half:.{digits}f}", ha="center", va="center", color=ink, fontsize=8.5)


def draw_curves(path: Path, designs: Sequence[Design], runs: Mapping[str, Sequence[Sequence[dict[str, Any]]]]) -> None:
    """Write the learning curves as a PNG: each design's own reward over the updates, and the KL of all designs.

    Args:
        runs: by design, a run's records of `metrics.jsonl` for each seed.
    """
    columns = 3
    rows = -(-(len(designs) + 1) // columns)
    figure = Figure(figsize=(13.5, 0.3 + 3.3 * rows), dpi=100, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    together = panels[len(designs)]
    for axes, (i, design) in zip(panels, enumerate(designs), strict=False):
        colour = LINES[i % len(LINES)]
        _draw_runs(axes, runs[design.name], "reward", colour)
        axes.set_title(f"{design.name}: reward per episode", fontsize=11, color=colour, loc="left")
        _draw_runs(together, runs[design.name], "kl_per_token", colour, design.name)
    together.set_title("KL to the untrained model, nats per token", fontsize=11, color=INK, loc="left")
    together.set_ylim(bottom=0)
    together.legend(frameon=False, fontsize=9, labelcolor=INK)
    for axes in panels[: len(designs) + 1]:
        axes.set_xlabel("update", color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, length=0)
        axes.spines[:].set_visible(False)
    for axes in panels[len(designs) + 1 :]:
        axes.set_visible(False)
    figure.savefig(path)


def _draw_runs(axes: Axes, runs: Sequence[Sequence[dict[str, Any]]], name: str, colour: str, label: str = "") -> None:
    """A thin line for each seed and a thick one for their mean, smoothed a little where there are updates enough."""
    values = np.array([[record[name] for record in run] for run in runs])  # (seeds, updates)
    window = 3 if values.shape[1] >= 10 else 1
    updates = np.arange(1, values.shape[1] + 1)
    if len(values) > 1:
        for row in values:
            axes.plot(updates, running_mean(row, window), color=colour, alpha=0.35, linewidth=1.0)
    axes.plot(
        updates, running_mean(values.mean(0), window), "o-", color=colour, linewidth=2.2, markersize=3, label=label
    )
