"""Evaluations and samples as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.markdown import Markdown
from rich.table import Table

LABELS = {
    "reward_mean": "reward",
    "rating_later": "rating, turns 2 and later",
    "vader": "VADER compound",
    "kl_per_token": "KL per token, nats",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "length_mean": "tokens",
    "perplexity_ref": "perplexity (untrained)",
}


def evaluation_table(evaluation: dict[str, dict[str, Any]]) -> RenderableType:
    """What `dyngen_agents.evaluation.evaluate.evaluate` returns: a row a figure, a column a model."""
    table = Table("", *evaluation, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for key, label in LABELS.items():
        if any(key not in figures for figures in evaluation.values()):
            continue  # nobody rated
        table.add_row(label, *(_figure(key, figures) for figures in evaluation.values()))
        if key == "reward_mean":
            for name in evaluation["trained"]["reward_terms"]:
                terms = (figures["reward_terms"][name] for figures in evaluation.values())
                table.add_row(f"  {name}", *(f"{value:.3f}" for value in terms))
    return table


def samples_table(markdown: str) -> RenderableType:
    """The table in samples.md."""
    return Markdown(markdown)


def _figure(key: str, figures: dict[str, Any]) -> str:
    if key in ("reward_mean", "rating_later"):
        return f"{figures[key]:.3f} ± {figures[key.removesuffix('_mean') + '_ci95']:.3f}"
    digits = 1 if key in ("length_mean", "perplexity_ref") else 3
    return f"{round(figures[key], digits) + 0.0:.{digits}f}"  # + 0.0: no -0.000
