"""Evaluations and samples as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dyngen_agents.reward_bench.audit import Audit, DesignAudit
from dyngen_agents.reward_bench.scores import MEASURES

LABELS = {
    "reward_mean": "reward",
    "rating_later": "rating, turns 2 and later",
    "vader": "VADER compound",
    "kl_per_episode": "KL per episode, nats",
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
            gain = evaluation["trained"]
            if "reward_gain" in gain:
                table.add_row("  gained, in pairs", f"{gain['reward_gain']:+.3f} ± {gain['reward_gain_ci95']:.3f}", "")
            for name in evaluation["trained"]["reward_terms"]:
                terms = (figures["reward_terms"][name] for figures in evaluation.values())
                table.add_row(f"  {name}", *(f"{value:.3f}" for value in terms))
    for task, gain in evaluation["trained"].get("tasks", {}).items():
        table.add_section()
        of_task = [figures["tasks"][task] for figures in evaluation.values()]
        table.add_row(Text(task, style="bold"), *(f"{figures['length_mean']:.1f} tokens" for figures in of_task))
        table.add_row("  reward, as played alone", *(_figure("reward_mean", figures) for figures in of_task))
        table.add_row("  gained, in pairs", f"{gain['reward_gain']:+.3f} ± {gain['reward_gain_ci95']:.3f}", "")
        if all("rating_later" in figures for figures in of_task):
            table.add_row(f"  {LABELS['rating_later']}", *(_figure("rating_later", figures) for figures in of_task))
        table.add_row(f"  {LABELS['kl_per_episode']}", *(_figure("kl_per_episode", figures) for figures in of_task))
    return table


def rescored_table(rewards: dict[str, dict[str, dict[str, Any]]]) -> RenderableType:
    """What `dyngen rescore` found: a row a reward and a row each of its terms, a column a policy."""
    policies = list(next(iter(rewards.values())))
    table = Table("mean return", *policies, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, by_policy in rewards.items():
        table.add_row(Text(name), *(_mean(by_policy[policy]) for policy in policies))
        terms = {term: None for figures in by_policy.values() for term in figures["terms"]}
        for term in terms if len(terms) > 1 else ():
            values = (by_policy[policy]["terms"].get(term, 0.0) for policy in policies)
            table.add_row(Text(f"  {term}"), *(f"{value:.3f}" for value in values))
    return table


def audit_table(audit: Audit, title: str) -> RenderableType:
    """An audit: how rewards agree with each other and, below the line, with held-out measures; a column a reward."""
    designs = audit.designs
    caption = "rank correlations; in brackets: higher in the best tenth by so many deviations, bold beyond 95%"
    table = Table("", *map(escape, designs), header_style="bold", title=title, caption=caption)
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for name in designs if len(designs) > 1 else ():
        own = (design.agreement.get(name) for design in designs.values())
        table.add_row(Text(name), *("" if rho is None else f"{rho:.2f}" for rho in own))
    table.add_section()
    for measure in MEASURES:
        if any(measure.key in design.correlation for design in designs.values()):
            table.add_row(measure.label, *(_held_out(design, measure.key) for design in designs.values()))
    return table


def _held_out(design: DesignAudit, key: str) -> Text:
    if key not in design.correlation:
        return Text()
    text = Text(f"{design.correlation[key]:.2f}")
    if (change := design.best.get(key)) is not None:
        text.append(f" ({change.mean:+.1f})", style="bold" if change.above_zero or change.below_zero else "")
    return text


def _mean(figures: dict[str, Any]) -> str:
    half = figures["ci95"]
    return f"{figures['mean']:.3f}" + ("" if half is None else f" ± {half:.3f}")


def samples_table(markdown: str) -> RenderableType:
    """The table in samples.md."""
    return Markdown(markdown)


def _figure(key: str, figures: dict[str, Any]) -> str:
    if key in ("reward_mean", "rating_later", "kl_per_episode"):
        return f"{figures[key]:.3f} ± {figures[key.removesuffix('_mean') + '_ci95']:.3f}"
    digits = 1 if key in ("length_mean", "perplexity_ref") else 3
    return f"{round(figures[key], digits) + 0.0:.{digits}f}"  # + 0.0: no -0.000
