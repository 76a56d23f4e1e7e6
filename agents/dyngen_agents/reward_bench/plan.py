"""What a bench trains and plays, kept in its folder: only the same plan may go on there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dyngen_agents.algorithms.algorithm import AlgorithmConfig
from dyngen_agents.algorithms.registry import ALGORITHMS, DEFAULT, algorithm_name
from dyngen_agents.reward_bench.designs import Design, designs_from
from dyngen_agents.runs.config import TrainConfig, config_from, train_config_from

PLAN = "bench.json"


@dataclass(frozen=True)
class Plan:
    """Every design is trained once for each of the seeds 0 … seeds-1, all with the same settings.

    `training` has no reward, seed and folder of its own.
    """

    designs: tuple[Design, ...]
    seeds: int
    training: TrainConfig
    algorithm: AlgorithmConfig
    eval_episodes: int

    def run(self, design: Design, seed: int, out: Path) -> TrainConfig:
        """The settings of one run."""
        return replace(self.training, reward=design.expression, seed=seed, out=str(run_folder(out, design, seed)))


def run_folder(out: Path, design: Design, seed: int) -> Path:
    """The folder of one run within the bench's folder `out`."""
    return out / design.name / f"seed-{seed}"


def write_plan(plan: Plan, out: Path) -> None:
    """Keep the plan as bench.json in the bench's folder."""
    (out / PLAN).write_text(json.dumps(plan_as_json(plan), indent=2) + "\n", encoding="utf-8")


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """The plan as values that JSON can hold, the inverse of `read_plan`."""
    designs = {design.name: design.expression for design in plan.designs}
    return asdict(plan) | {"designs": designs, "algorithm_name": algorithm_name(plan.algorithm)}


def read_plan(out: Path) -> Plan | None:
    """The plan of the bench in `out`, None if there is none. Raises ValueError if it cannot be read."""
    path = out / PLAN
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind: type[AlgorithmConfig] = ALGORITHMS[
            values.get("algorithm_name", DEFAULT)
        ].Config  # version 0.1 did not say
        training, algorithm = train_config_from(values["training"]), config_from(kind, values["algorithm"])
        designs = designs_from(values["designs"], str(path))
        return Plan(designs, values["seeds"], training, algorithm, values["eval_episodes"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): choose another folder for the bench") from error


def check_goes_on(plan: Plan, saved: Plan, out: Path) -> None:
    """Raises ValueError, naming what differs, if runs of `saved` would not be comparable with those of `plan`.

    Designs and seeds may come and go, and evaluation is done anew.
    """
    differences = [
        f"{name} {value!r}, now {now[name]!r}"
        for now, then in (
            (asdict(plan.training), asdict(saved.training)),
            ({"algorithm": algorithm_name(plan.algorithm)}, {"algorithm": algorithm_name(saved.algorithm)}),
            (asdict(plan.algorithm), asdict(saved.algorithm)),
        )
        for name, value in then.items()
        if name in now and value != now[name] and name != "device"
    ]
    known = {design.name: design.expression for design in saved.designs}
    differences += [
        f"design {design.name!r} = {known[design.name]!r}, now {design.expression!r}"
        for design in plan.designs
        if known.get(design.name, design.expression) != design.expression
    ]
    if differences:
        raise ValueError(
            f"{out} holds a bench with {'; '.join(differences)}: give the same options to go on, or another --out"
        )
