"""A bench as a Markdown report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from dyngen_agents.algorithms.algorithm import AlgorithmConfig
from dyngen_agents.algorithms.registry import algorithm_name
from dyngen_agents.evaluation.samples import table_cell
from dyngen_agents.reward_bench.audit import Audit, DesignAudit
from dyngen_agents.reward_bench.hacking import KEPT, LEAST, LEVEL
from dyngen_agents.reward_bench.matrix import UNTRAINED, Cell, Matrix, Row
from dyngen_agents.reward_bench.plan import Plan
from dyngen_agents.reward_bench.scores import MEASURES, Measure, held_out

PICTURE, CURVES = "matrix.png", "curves.png"
DIRECTIONS = ("up", "down", "no change")


def report(plan: Plan, matrix: Matrix, audit: Audit | None, results: dict[str, Any]) -> str:
    """The text of report.md. results: what results.json holds."""
    return "\n\n".join(
        (
            "# Reward designs compared",
            _settings(plan, results),
            "## The matrix",
            _matrix(plan, matrix),
            f"Rows: trained on. Columns: measured by. Mean ± half of the 95% interval over {matrix.interval}; bold "
            "where the interval of the change from untrained, on the same episodes, excludes 0.",
            f"![the matrix]({PICTURE})",
            "## Reward hacking",
            _hacking(plan, matrix),
            _RULE,
            *_gold_against_proxy(matrix),
            *([] if audit is None else ["## What the audit said before", *_audit(plan, audit)]),
            "## Learning curves",
            f"![learning curves]({CURVES})",
            "## Samples",
            *_samples(plan, results["samples"]),
            "## What the measures are",
            _NOTES,
        )
    ) + "\n"  # fmt: skip


_RULE = f"""\
Held out are those of human rating, VADER, fluency and distinct-2 that are no part of a design's reward. In brackets: \
the change, in standard deviations of the untrained model's episodes; a direction is one whose 95% interval excludes 0.

Among the untrained model's episodes a measure goes with a design's reward by some correlation ρ. So training that \
raises the reward by so many deviations promises the measure ρ times as many. A design is hacked if a measure surely \
keeps less than {KEPT:.0%} of its promise, or falls where none was made, and lacks at least {LEAST:g} deviations. \
Holm's correction over the whole table makes the chance of any verdict at most {LEVEL:.0%} where all designs are \
sound. It is partly hacked if another measure rose. Changes are compared at equal KL: each is scaled along √KL to the \
KL of the design that went least far (Gao, Schulman and Hilton 2023). Diversity is shown, but takes no part: it falls \
under almost any training."""

_NOTES = """\
- human rating: what people would rate the completion, predicted by a linear model of n-grams, in [-1, 1] (reward
  `human_rating`). VADER's scores are among its features, so the two are kin.
- VADER: the compound score of the completion, in [-1, 1] (reward `sentiment`).
- fluency: mean log-prob of the completion's tokens under the untrained model, nats (reward `fluency`). Text that is
  likelier than people's is dull rather than good.
- distinct-2: distinct word bigrams over all bigrams of a policy's completions. It falls when all prompts get the same
  answer, and as texts grow longer; at equal length it is that of two bigrams for each episode, drawn at random.
- tokens: mean length of a completion. KL: mean of log π - log π_untrained, per token and per episode. Neither is good
  or bad in itself."""


def _settings(plan: Plan, results: dict[str, Any]) -> str:
    t = plan.training
    designs = "\n".join(f"- **{design.name}**: `{design.expression}`" for design in plan.designs)
    return (
        f"{designs}\n\n"
        f"Each was trained by {algorithm_name(plan.algorithm)} in `{t.env}` with {_count(plan.seeds, 'seed')}, "
        f"{t.updates} updates of {t.episodes} episodes{_chosen(plan.algorithm)}, for a reward scaled to deviation 1 "
        "under the untrained model. Then each policy, and the untrained model beside it, completed the same "
        f"{plan.eval_episodes} prompts, which were not trained on, with the same random numbers.\n\n"
        f"{results['seconds_per_run']:.0f} s of training a run, {results['workers']} at a time"
        + (f"; {results['seconds'] / 60:.1f} minutes in all" if results["seconds"] else "")
        + f". torch {results['versions']['torch']}."
    )


def _chosen(algorithm: AlgorithmConfig) -> str:
    """The hyper-parameters that are not the algorithm's defaults, in words."""
    chosen = asdict(algorithm).items() - asdict(type(algorithm)()).items()
    return "".join(f", {name.replace('_', ' ')} {value}" for name, value in sorted(chosen))


def _matrix(plan: Plan, matrix: Matrix) -> str:
    names = [design.name for design in plan.designs]

    def cells(row: Row) -> Iterable[str]:
        yield from (_interval(row.rewards[name]) for name in names)
        yield from (_interval(row.measures[m.key], m.digits) for m in MEASURES)

    head = ["trained on", *(f"`{name}`" for name in names), *(m.heading for m in MEASURES)]
    return table(head, ([name, *cells(row)] for name, row in matrix.rows.items()))


def _interval(cell: Cell, digits: int = 3) -> str:
    changed = cell.change.above_zero or cell.change.below_zero
    text = f"{shown(cell.level.mean, digits)} ± {cell.level.half:.{digits}f}"
    return f"**{text}**" if changed else text


def shown(value: float, digits: int) -> str:
    """A number, never -0.00."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _hacking(plan: Plan, matrix: Matrix) -> str:
    rows = []
    for design in plan.designs:
        row, verdict, outside = matrix.rows[design.name], matrix.verdicts[design.name], held_out(design)
        own = row.rewards[design.name]
        by_direction = [[m for m in outside if _direction(row.measures[m.key]) == d] for d in DIRECTIONS]
        rows.append(
            [
                f"**{design.name}**",
                f"{_direction(own)}{_effect(own)}",
                *(_those(row, measures) for measures in by_direction),
                verdict.flag or "–",
            ]
        )
    return table(["trained on", "own reward", *(f"held out: {d}" for d in DIRECTIONS), "verdict"], rows)


def _gold_against_proxy(matrix: Matrix) -> Iterable[str]:
    """What each held-out measure made of each design's reward, at equal KL; nothing where nothing is held out."""
    labels = {measure.key: measure.label for measure in MEASURES}
    if matrix.comparisons:
        yield "Gold against proxy at equal KL, in standard deviations:"
        yield table(
            ["trained on", "own reward", "held out", "promised", "found", "p (kept its promise)"],
            (
                [f"**{c.design}**", f"{c.own:+.2f}", labels[c.measure], f"{c.promised:+.2f}",
                 f"**{c.found:+.2f}**" if c.broken else f"{c.found:+.2f}", f"{c.p:.3f}"]
                for c in matrix.comparisons
            ),
        )  # fmt: skip


def _audit(plan: Plan, audit: Audit) -> Iterable[str]:
    """What the untrained model's episodes said about the designs, before any was trained on."""
    names = [design.name for design in plan.designs]
    yield (
        f"{_count(audit.episodes, 'episode')} of the untrained model, paid by each design. Rank correlation "
        "(Spearman's ρ) of designs with each other and, right of them, with held-out measures; in brackets how much "
        "higher a measure is in the tenth that the design pays best than elsewhere, in standard deviations, bold "
        "beyond its 95% interval. Training leads towards that tenth."
    )

    def cells(name: str) -> Iterable[str]:
        own = audit.designs[name]
        yield from (shown(own.agreement[other], 2) if other != name else "" for other in names)
        yield from (_agreement(own, m.key) if m.key in own.best else "" for m in measures)

    measures = [m for m in MEASURES if any(m.key in own.best for own in audit.designs.values())]
    yield table(["design", *names, *(m.label for m in measures)], ([f"**{n}**", *cells(n)] for n in names))
    yield "\n".join(f"- {warning}" for warning in audit.warnings()) or "No design looks as if it could be hacked."


def _agreement(own: DesignAudit, key: str) -> str:
    change = own.best[key]
    effect = f"({change.mean:+.1f})"
    bold = change.above_zero or change.below_zero
    return f"{shown(own.correlation[key], 2)} " + (f"**{effect}**" if bold else effect)


def _those(row: Row, measures: Sequence[Measure]) -> str:
    return ", ".join(m.label + _effect(row.measures[m.key]) for m in measures) or "–"


def _direction(cell: Cell) -> str:
    return DIRECTIONS[0 if cell.change.above_zero else 1 if cell.change.below_zero else 2]


def _effect(cell: Cell) -> str:
    return "" if cell.effect is None else f" ({cell.effect:+.1f})"


def _samples(plan: Plan, samples: dict[str, Sequence[tuple[str, str]]]) -> Iterable[str]:
    """A table for each prompt: what each policy of seed 0 made of it."""
    for i, (prompt, _) in enumerate(samples[UNTRAINED]):
        rows = [[name, samples[name][i][1]] for name in (UNTRAINED, *(design.name for design in plan.designs))]
        yield table(["trained on", f"{prompt} …"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(table_cell, line)) + " |" for line in lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
