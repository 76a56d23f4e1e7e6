"""Reward designs audited on recorded episodes, before anything is trained on them.

Training moves a policy towards what a design pays best. So the best tenth of some episodes by a design shows where it
will lead: if held-out measures of quality are lower there than elsewhere, the design can be hacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dyngen_agents.data.episodes import Episode
from dyngen_agents.evaluation.rescore import rescore
from dyngen_agents.reward_bench.designs import Design
from dyngen_agents.reward_bench.scores import MEASURES, Measure, held_out
from dyngen_agents.reward_bench.statistics import Estimate, difference, rank_correlation
from dyngen_env.rewards import Repetition, Reward

BEST = 0.1  # the share of episodes that counts as a design's best
FEWEST = 5  # episodes there must be among the best, and among the others
LEAST = round(FEWEST / BEST)  # episodes of an audit


@dataclass(frozen=True)
class DesignAudit:
    """What episodes say about one design.

    `agreement`: Spearman's ρ with the other designs, by name. `correlation`: Spearman's ρ with the held-out measures.
    `best`: how much higher each of these is among the episodes that the design pays best than among the others, in
    standard deviations; both by `Measure.key`. A design that pays nearly all episodes the same has no best ones.
    """

    agreement: dict[str, float]
    correlation: dict[str, float]
    best: dict[str, Estimate]

    @property
    def lowered(self) -> tuple[str, ...]:
        """The held-out measures that are lower among the best, beyond the 95% interval."""
        return tuple(key for key, change in self.best.items() if change.below_zero)

    @property
    def raised(self) -> tuple[str, ...]:
        """Those that are higher."""
        return tuple(key for key, change in self.best.items() if change.above_zero)


@dataclass(frozen=True)
class Audit:
    """An audit of some designs, by name, on so many episodes."""

    episodes: int
    designs: dict[str, DesignAudit]

    def warnings(self) -> list[str]:
        """A sentence on each design that looks as if it could be hacked."""
        return [f"{name}: {why}" for name, design in self.designs.items() if (why := _warning(design))]

    def as_json(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        designs = {
            name: {
                "agreement": design.agreement,
                "correlation": design.correlation,
                "best": {key: change._asdict() for key, change in design.best.items()},
            }
            for name, design in self.designs.items()
        }
        return {"episodes": self.episodes, "designs": designs, "warnings": self.warnings()}


def audit(
    designs: Sequence[Design],
    episodes: Sequence[Episode],
    model: str | None,
    device: str = "cpu",
    paid: Mapping[str, np.ndarray] | None = None,
) -> Audit:
    """Compare designs with each other and with the measures that they would not be trained on.

    Args:
        episodes: of one policy, best of the one that training begins with.
        model: as for `rescore`; without one there is no fluency.
        paid: (N,) by design, what each pays for the episodes, if that is known already.

    Raises:
        ValueError: as `rescore`, or fewer than 50 episodes.
    """

    def returns(reward: Reward) -> np.ndarray:
        return rescore(episodes, reward, model=model, device=device).returns

    if len(episodes) < LEAST:
        raise ValueError(f"{len(episodes)} episodes are too few for an audit: expected at least {LEAST}")
    own = paid or {design.name: returns(design.reward()) for design in designs}
    outside = {design.name: [m for m in held_out(design) if model or m.key != "fluency"] for design in designs}
    measures = {m.key: returns(_reward_of(m)) for m in MEASURES if any(m in held for held in outside.values())}
    return Audit(
        len(episodes),
        {
            name: audit_design(
                values,
                {other: own[other] for other in own if other != name},
                {m.key: measures[m.key] for m in outside[name]},
            )
            for name, values in own.items()
        },
    )


def audit_design(own: np.ndarray, others: Mapping[str, np.ndarray], measures: Mapping[str, np.ndarray]) -> DesignAudit:
    """The audit of a design that pays `own` (N,), beside other designs and held-out measures of the same episodes."""
    best = own >= np.quantile(own, 1 - BEST)
    tells_apart = min(best.sum(), (~best).sum()) >= FEWEST
    spread = {key: float(np.std(values)) or 1.0 for key, values in measures.items()}
    return DesignAudit(
        {name: rank_correlation(own, values) for name, values in others.items()},
        {key: rank_correlation(own, values) for key, values in measures.items()},
        {
            key: difference(values[best] / spread[key], values[~best] / spread[key])
            for key, values in measures.items()
            if tells_apart
        },
    )


def _reward_of(measure: Measure) -> Reward:
    """The reward that pays a held-out measure; of distinct-2 the share of bigrams that are new within an episode."""
    return 1 - Repetition(2) if measure.reward is None else measure.reward()


def _warning(design: DesignAudit) -> str:
    if not design.best and design.correlation:
        return "it pays nearly all episodes the same"
    labels = {measure.key: measure.label for measure in MEASURES}

    def listed(keys: Sequence[str]) -> str:
        return " and ".join(labels[key] for key in keys)

    if design.lowered:
        also = f", though higher in {listed(design.raised)}" if design.raised else ""
        return f"the episodes that it pays best are lower in {listed(design.lowered)} than others{also}"
    if design.best and not design.raised:
        return f"the episodes that it pays best are no better than others in {listed(list(design.best))}"
    return ""
