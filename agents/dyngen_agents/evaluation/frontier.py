"""Reward against KL: what algorithms, or settings, buy for their distance from the untrained model, in one picture.

Gao et al. 2023 compare along the square root of the KL, in which the reward of the best of n samples is nearly
straight.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from dyngen_agents.evaluation.best_of_n import nats_of_reward
from dyngen_agents.evaluation.drawing import FAINT, INK, running_mean
from dyngen_agents.evaluation.intervals import t_quantile

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's palette
WINDOW = 7  # updates of a running mean


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and half the width of its 95% interval by Student's t; None where there is one seed."""

    mean: float
    half: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Of at least one value."""
        if len(values) < 2:
            return cls(fmean(values), None)
        return cls(fmean(values), t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values)))

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + ("" if self.half is None else f" ± {self.half:.3f}")


@dataclass(frozen=True)
class RunPath:
    """How one run went: (updates,) KL from the untrained model, nats per episode, and (updates,) reward."""

    kl: np.ndarray
    reward: np.ndarray


def read_path(run: Path) -> RunPath:
    """The way of a run from its metrics, as running means.

    Raises:
        ValueError: the run has no metrics, or its algorithm does not report "kl" and "reward".
    """
    try:
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        kl, reward = (np.array([record[name] for record in records], float) for name in ("kl", "reward"))
    except FileNotFoundError:
        raise ValueError(f"{run} has no metrics.jsonl: give folders of training runs") from None
    except KeyError as error:
        raise ValueError(f"the metrics of {run} have no {error}: its algorithm does not report it") from None
    if not len(kl):
        raise ValueError(f"{run} has no finished update")
    return RunPath(running_mean(kl, WINDOW), running_mean(reward, WINDOW))


def frontier_table(
    evaluations: Mapping[str, Sequence[dict[str, Any]]], line: dict[int, dict[str, float]] | None
) -> list[tuple[str, ...]]:
    """Rows of text: a heading, one for each named group of evaluations, and one for each point of the best of n.

    Args:
        evaluations: by name, what `evaluate` returned for the runs of each seed.
        line: of the untrained model, as `best_of_n` returns it; None leaves it out.
    """
    rows: list[tuple[str, ...]] = [("", "seeds", "reward", "KL per episode, nats", "distinct-2", "same by best of n")]
    for name, results in evaluations.items():
        trained = [result["trained"] for result in results]
        reward, kl, distinct = (
            Interval.of([figures[key] for figures in trained])
            for key in ("reward_mean", "kl_per_episode", "distinct_2")
        )
        nats = nats_of_reward(line, reward.mean) if line else None
        same = "" if not line else f"{nats:.2f} nats" if nats is not None else f"beyond n = {max(line)}"
        rows.append((name, str(len(trained)), str(reward), str(kl), str(distinct), same))
    for n, point in (line or {}).items():
        rows.append((f"untrained, best of {n}", "", f"{point['reward']:.3f}", f"at most {point['kl']:.2f}", "", ""))
    return rows


def draw_frontier(
    out: Path,
    paths: Mapping[str, Sequence[RunPath]],
    evaluations: Mapping[str, Sequence[dict[str, Any]]],
    line: dict[int, dict[str, float]] | None,
    title: str,
) -> None:
    """Write a PNG: training runs as thin lines, their evaluations as points, and the untrained model's best of n."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    for (name, runs), colour in zip(paths.items(), COLOURS * len(paths), strict=False):
        for run in runs:
            axes.plot(np.sqrt(run.kl.clip(0)), run.reward, color=colour, linewidth=1.0, alpha=0.45)
        trained = [result["trained"] for result in evaluations[name]]
        kl = np.array([figures["kl_per_episode"] for figures in trained])
        reward = [figures["reward_mean"] for figures in trained]
        axes.plot(np.sqrt(kl.clip(0)), reward, "o", color=colour, markersize=7, label=f"{name}, unseen prompts")
    if line:
        kl = np.array([point["kl"] for point in line.values()])
        axes.plot(
            np.sqrt(kl), [point["reward"] for point in line.values()], "k--", marker="d", markersize=4, linewidth=1.2,
            label="untrained model, best of n",
        )  # fmt: skip
        for (n, point), x in zip(line.items(), np.sqrt(kl), strict=True):
            axes.annotate(f"{n}", (x, point["reward"]), (0, 7), textcoords="offset points", ha="center", color=INK)
    axes.set_xlabel("square root of the KL from the untrained model, nats per episode", color=INK)
    axes.set_ylabel("reward per episode", color=INK)
    axes.set_title(title, loc="left", color=INK)
    axes.legend(frameon=False, loc="lower right")
    axes.grid(color=FAINT, linewidth=0.8)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(out)
