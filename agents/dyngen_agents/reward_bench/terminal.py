"""A bench's outcome for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dyngen_agents.reward_bench.report import shown
from dyngen_agents.reward_bench.scores import MEASURES


def outcome_table(results: dict[str, Any]) -> RenderableType:
    """The content of results.json as a table: rows are measures, columns policies, bold where the change is certain."""
    rows = results["matrix"]
    table = Table("", *rows, header_style="bold", caption=f"bold: changed, by 95% intervals over {results['interval']}")
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for name in results["designs"]:
        table.add_row(name, *(_cell(row["rewards"][name]) for row in rows.values()))
    table.add_section()  # above: the designs' rewards, below: the other measures
    for measure in MEASURES:
        table.add_row(measure.heading, *(_cell(row["measures"][measure.key], measure.digits) for row in rows.values()))
    labels = {measure.key: measure.label for measure in MEASURES}
    flags = [
        Text(
            f"{name} is {verdict['flag']}: {_and(verdict['fallen'], labels)} did not rise with it as promised",
            style="red",
        )
        for name, verdict in results["hacking"].items()
        if verdict["flag"]
    ]
    return Group(table, *(flags or [Text("no design is hacked")]))


def _and(keys: list[str], labels: dict[str, str]) -> str:
    return " and ".join(labels[key] for key in keys)


def _cell(cell: dict[str, float], digits: int = 3) -> Text:
    changed = abs(cell["change"]) > cell["change_ci95"]
    return Text(shown(cell["mean"], digits), style="bold" if changed else "")
