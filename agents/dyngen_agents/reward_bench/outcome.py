"""Everything that a bench found out, and the files that say so."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dyngen_agents.reward_bench.audit import Audit
from dyngen_agents.reward_bench.matrix import UNTRAINED, Cell, Matrix
from dyngen_agents.reward_bench.plan import Plan, plan_as_json, run_folder
from dyngen_agents.reward_bench.report import CURVES, PICTURE, report
from dyngen_agents.reward_bench.scores import Score, Scores, held_out
from dyngen_agents.runs.learner import versions
from dyngen_agents.training.metrics_log import read_metrics

REPORT, RESULTS = "report.md", "results.json"


@dataclass(frozen=True)
class Outcome:
    """A finished bench. scores: by design, None for untrained, in the order of seeds."""

    plan: Plan
    out: Path
    scores: dict[str | None, list[Scores]]
    matrix: Matrix
    audit: Audit | None  # of the designs on the untrained policy's episodes, None if these were too few
    workers: int
    seconds: float | None  # that it took, None if it was interrupted


def write_outcome(outcome: Outcome) -> None:
    """Write report.md, matrix.png, curves.png and results.json."""
    from dyngen_agents.reward_bench.pictures import draw_curves, draw_matrix  # imports matplotlib

    plan, out, matrix = outcome.plan, outcome.out, outcome.matrix
    curves = {
        design.name: [read_metrics(run_folder(out, design, seed)) for seed in range(plan.seeds)]
        for design in plan.designs
    }
    run_seconds = [run[-1]["seconds"] for runs in curves.values() for run in runs]
    results: dict[str, Any] = {
        **plan_as_json(plan),
        "interval": matrix.interval,
        "matrix": {
            name: {
                "rewards": {key: _cell(cell) for key, cell in row.rewards.items()},
                "measures": {key: _cell(cell) for key, cell in row.measures.items()},
            }
            for name, row in matrix.rows.items()
        },
        "held_out": {design.name: [measure.key for measure in held_out(design)] for design in plan.designs},
        "hacking": {name: {"flag": v.flag, **asdict(v)} for name, v in matrix.verdicts.items()},
        "gold_against_proxy": [asdict(comparison) for comparison in matrix.comparisons],
        "by_seed": {name or UNTRAINED: [_by_seed(s) for s in scores] for name, scores in outcome.scores.items()},
        "audit": outcome.audit and outcome.audit.as_json(),
        "samples": {name or UNTRAINED: scores[0].samples for name, scores in outcome.scores.items()},
        "workers": outcome.workers,
        "seconds": outcome.seconds and round(outcome.seconds, 1),
        "seconds_per_run": round(sum(run_seconds) / len(run_seconds), 1),
        "versions": versions(),
    }
    (out / RESULTS).write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    draw_matrix(out / PICTURE, plan.designs, matrix)
    draw_curves(out / CURVES, plan.designs, curves)
    (out / REPORT).write_text(report(plan, matrix, outcome.audit, results), encoding="utf-8")


def _cell(cell: Cell) -> dict[str, float | None]:
    return {
        "mean": cell.level.mean,
        "ci95": cell.level.half,
        "change": cell.change.mean,
        "change_ci95": cell.change.half,
        "effect": cell.effect,
    }


def _by_seed(scores: Scores) -> dict[str, Any]:
    def values(of: dict[str, Score]) -> dict[str, float]:
        return {name: score.value for name, score in of.items()}

    return {"seed": scores.seed, "rewards": values(scores.rewards), "measures": values(scores.measures)}
