"""The matrix: what was trained on by what it is measured by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dyngen_agents.reward_bench.designs import Design
from dyngen_agents.reward_bench.hacking import KEPT, Comparison, Evidence, Verdict, compare, judge
from dyngen_agents.reward_bench.scores import MEASURES, Score, Scores, held_out
from dyngen_agents.reward_bench.statistics import Estimate, correlation, jackknife_error, over_episodes, over_seeds

UNTRAINED = "untrained"


@dataclass(frozen=True)
class Cell:
    """One entry of the matrix: a policy, measured by one measure, over all seeds.

    `level` is the figure itself, `change` its difference to the untrained policy on the same episodes. `effect` is the
    change in standard deviations that episodes of the untrained policy have; None where they have none.
    """

    level: Estimate
    change: Estimate
    effect: float | None


@dataclass(frozen=True)
class Row:
    """One row of the matrix: a policy's cells, by the design or the `Measure.key` that it is measured by."""

    rewards: dict[str, Cell]
    measures: dict[str, Cell]


@dataclass(frozen=True)
class Matrix:
    """Rows by name, "untrained" first; gold against proxy; and for each design whether it was hacked."""

    rows: dict[str, Row]
    comparisons: list[Comparison]
    verdicts: dict[str, Verdict]
    interval: str  # over what it is taken


def build_matrix(designs: Sequence[Design], scores: Mapping[str | None, Sequence[Scores]]) -> Matrix:
    """Build the matrix from each policy's scores.

    Args:
        scores: by the name of the design that was trained on, None for the untrained policy; a score for each seed, in
            the same order everywhere.
    """
    untrained = scores[None]
    rows = {UNTRAINED: _row(untrained, untrained)}
    rows |= {design.name: _row(scores[design.name], untrained) for design in designs}
    evidence = [
        _evidence(design.name, measure.key, scores[design.name], untrained)
        for design in designs
        for measure in held_out(design)
        if measure.judged
    ]
    comparisons = compare(evidence)
    verdicts = {d.name: judge([c for c in comparisons if c.design == d.name]) for d in designs}
    several = len(untrained) > 1
    interval = f"{len(untrained)} seeds (Student's t)" if several else "the episodes of one seed (jackknife)"
    return Matrix(rows, comparisons, verdicts, interval)


def _evidence(design: str, key: str, trained: Sequence[Scores], untrained: Sequence[Scores]) -> Evidence:
    own = [(policy.rewards[design], base.rewards[design]) for policy, base in zip(trained, untrained, strict=True)]
    gold = [(policy.measures[key], base.measures[key]) for policy, base in zip(trained, untrained, strict=True)]
    own_unit, unit = (deviation([base for _, base in pairs]) or 1.0 for pairs in (own, gold))
    # Each seed's episodes about their own mean: seeds play other prompts.
    tie = correlation(*(np.concatenate([b.episodes - b.value for _, b in pairs]) for pairs in (own, gold)))
    kept = KEPT * max(tie, 0.0)
    errors = [
        jackknife_error((g.without - h.without) / unit - kept * (o.without - b.without) / own_unit)
        for (g, h), (o, b) in zip(gold, own, strict=True)
    ]
    return Evidence(
        design,
        key,
        own=np.array([(policy.value - base.value) / own_unit for policy, base in own]),
        found=np.array([(policy.value - base.value) / unit for policy, base in gold]),
        tie=tie,
        episodes=sum(len(base.without) for _, base in own),
        error=math.sqrt(sum(error**2 for error in errors)) / len(errors),
        kl=float(np.mean([policy.measures["kl_episode"].value for policy in trained])),
    )


def constant_design(designs: Sequence[Design], untrained: Scores) -> Design | None:
    """A design that pays the same for every episode of the untrained policy, if there is one: nothing to learn from."""
    return next((d for d in designs if deviation([untrained.rewards[d.name]]) < 1e-8), None)


def deviation(scores: Sequence[Score]) -> float:
    """The standard deviation of episodes, pooled over seeds: √N times the jackknife's error, s for a mean."""
    return math.sqrt(np.mean([len(score.without) * jackknife_error(score.without) ** 2 for score in scores]))


def _row(policies: Sequence[Scores], untrained: Sequence[Scores]) -> Row:
    return Row(
        {
            name: _cell([p.rewards[name] for p in policies], [u.rewards[name] for u in untrained])
            for name in untrained[0].rewards
        },
        {
            m.key: _cell([p.measures[m.key] for p in policies], [u.measures[m.key] for u in untrained], not m.distance)
            for m in MEASURES
        },
    )


def _cell(policies: Sequence[Score], untrained: Sequence[Score], has_unit: bool = True) -> Cell:
    """Pairs of one policy and the untrained one, in the same episodes, for each seed."""
    pairs = list(zip(policies, untrained, strict=True))
    if len(pairs) > 1:
        level = over_seeds([own.value for own, _ in pairs])
        change = over_seeds([own.value - base.value for own, base in pairs])
    else:
        [(own, base)] = pairs
        level = over_episodes(own.value, own.without)
        change = over_episodes(own.value - base.value, own.without - base.without)
    unit = deviation(untrained) if has_unit else 0.0  # the untrained KL is 0 but for rounding
    return Cell(level, change, change.mean / unit if unit > 1e-8 else None)
