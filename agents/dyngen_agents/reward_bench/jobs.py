"""What a worker of the bench does: train a run and measure what it has learned."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dyngen_agents.distributed.interrupt import StopRequest
from dyngen_agents.reward_bench.designs import Design
from dyngen_agents.reward_bench.plan import Plan, run_folder
from dyngen_agents.reward_bench.scores import Scores, score
from dyngen_agents.runs.checkpoint import has_checkpoint, open_checkpoint
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.learner import Learner
from dyngen_agents.runs.models import check_base
from dyngen_agents.training.progress import NoProgress
from dyngen_agents.training.train import train

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One policy of the bench: trained under a design with a seed, or the untrained one if `design` is None."""

    plan: Plan
    out: Path
    design: Design | None
    seed: int


def do(job: Job, stop: StopRequest, tick: Callable[[], None]) -> Scores | None:
    """Train the policy of a job, unless that has been done before, and measure it.

    Returns None if a stop was asked for before the training was complete.

    Raises:
        ValueError, FloatingPointError, OSError: as `train`; the first two name the design.
    """
    plan, design = job.plan, job.design
    config = replace(plan.training, seed=job.seed)
    if design is None:
        return score(config, plan.designs, plan.eval_episodes, None, None)
    folder = run_folder(job.out, design, job.seed)
    try:
        if finished_updates(job) < plan.training.updates:
            _train(plan.run(design, job.seed, job.out), plan, folder, stop, tick)
        if finished_updates(job) < plan.training.updates:
            return None
        return score(config, plan.designs, plan.eval_episodes, design.name, str(folder))
    except FloatingPointError as error:
        raise FloatingPointError(f"design {design.name!r}, seed {job.seed}: {error}") from error
    except ValueError as error:
        raise ValueError(f"design {design.name!r}, seed {job.seed}: {error}") from error


def finished_updates(job: Job) -> int:
    """How many updates a job's run has finished, 0 if there is no run.

    Raises ValueError if the run is damaged, was trained on another reward, or began with a model that has changed.
    """
    assert job.design is not None
    folder = run_folder(job.out, job.design, job.seed)
    if not has_checkpoint(folder):
        return 0
    record = open_checkpoint(folder, training=False).record
    check_base(record)
    if record["train"]["reward"] != job.design.expression:
        raise ValueError(
            f"{folder} was trained on {record['train']['reward']!r}: choose another --out, or remove that run"
        )
    return record["iteration"]


def seconds_per_update(job: Job, stop: StopRequest, tick: Callable[[], None]) -> float:
    """Time one update of a job's run, the second: the first warms up. Nothing is written."""
    assert job.design is not None
    learner = Learner(job.plan.run(job.design, job.seed, job.out), job.plan.algorithm)
    learner.learn(learner.play())
    began = time.monotonic()
    learner.learn(learner.play())
    return time.monotonic() - began


def _train(config: TrainConfig, plan: Plan, folder: Path, stop: StopRequest, tick: Callable[[], None]) -> None:
    if has_checkpoint(folder):
        config = TrainConfig(resume=str(folder), device=config.device)
    elif folder.exists():
        shutil.rmtree(folder)  # a run that was killed before its first checkpoint
    train(config, plan.algorithm, stop=stop, progress=_Ticks(tick))


class _Ticks(NoProgress):
    """The progress of a run, told as one tick an update."""

    def __init__(self, tick: Callable[[], None]):
        self._tick = tick

    def update(self, metrics: dict[str, Any], seconds_left: float) -> None:
        self._tick()
