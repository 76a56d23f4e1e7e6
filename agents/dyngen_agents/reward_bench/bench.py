"""The bench: train every design with every seed, measure all policies, write down how they compare."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dyngen_agents.data.episodes import write_episodes
from dyngen_agents.distributed.interrupt import StopRequest
from dyngen_agents.reward_bench.audit import LEAST, Audit, audit
from dyngen_agents.reward_bench.config import RewardBench
from dyngen_agents.reward_bench.jobs import Job, do, finished_updates, seconds_per_update
from dyngen_agents.reward_bench.matrix import build_matrix, constant_design
from dyngen_agents.reward_bench.outcome import Outcome, write_outcome
from dyngen_agents.reward_bench.plan import PLAN, Plan, check_goes_on, read_plan, write_plan
from dyngen_agents.reward_bench.progress import BenchProgress
from dyngen_agents.reward_bench.scores import Scores, check_designs
from dyngen_agents.reward_bench.workers import Workers, available_cores
from dyngen_agents.runs.folder import new_run_folder
from dyngen_agents.training.progress import time_left
from dyngen_env.arguments import usable_device

UNTRAINED_EPISODES = "untrained.jsonl"

log = logging.getLogger(__name__)


def bench_rewards(bench: RewardBench, stop: StopRequest | None = None) -> Path:
    """Compare reward designs; the folder with the comparison.

    Every design is trained by the same agent with the same settings and seeds. Its reward is scaled to mean 0 and
    deviation 1 under the untrained model, so that the KL penalty weighs the same. Then the policies of a seed and the
    untrained model play the same held-out prompts with the same uniforms.

    Before anything is trained the designs are audited on what the untrained model has played (`reward_bench.audit`):
    the log warns of those that look as if they could be hacked.

    The folder holds report.md, matrix.png, curves.png, results.json, the runs as <design>/seed-<s>, and for
    `dyngen rescore` untrained.jsonl, the untrained model's episodes. If the bench is stopped early it has no report
    yet; once more with the same settings and `out`, and it goes on.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: settings that cannot work; nothing was trained.
        FloatingPointError, OSError: as `train`; what has been learned is kept.
    """
    plan = bench.plan()
    check_designs(plan.designs, plan.training)
    out, saved = _folder(bench.out)
    if saved is not None:
        if bench.minutes is not None:
            plan = _with_updates(plan, saved.training.updates)
        check_goes_on(plan, saved, out)
    count = bench.workers or (available_cores() if usable_device(bench.device).type == "cpu" else 1)
    began = time.monotonic()
    with (
        stop or StopRequest() as stop,
        BenchProgress() as progress,
        Workers(min(count, len(plan.designs) * plan.seeds), stop, progress.ticks) as workers,
    ):
        if bench.minutes is not None and saved is None:
            plan = _with_updates(plan, _updates_in(60 * bench.minutes, plan, out, workers))
            if stop.signal is not None:
                return out
        write_plan(plan, out)
        scores, audited = _all_scores(plan, out, workers, progress)
    if stop.signal is None:
        matrix = build_matrix(plan.designs, scores)
        seconds = time.monotonic() - began if saved is None else None
        write_outcome(Outcome(plan, out, scores, matrix, audited, workers.count, seconds))
    return out


def _folder(out: str | None) -> tuple[Path, Plan | None]:
    """The bench's folder, and the plan of the bench that is in it, if one is.

    Raises:
        FileExistsError: it holds something else.
    """
    if out is not None and (saved := read_plan(Path(out).expanduser())) is not None:
        return Path(out).expanduser(), saved
    try:
        return new_run_folder(out, "rewards"), None
    except FileExistsError as error:
        raise FileExistsError(f"{out} is not empty and holds no {PLAN}: choose another folder for the bench") from error


def _with_updates(plan: Plan, updates: int) -> Plan:
    return replace(plan, training=replace(plan.training, updates=updates))


def _updates_in(seconds: float, plan: Plan, out: Path, workers: Workers) -> int:
    """How many updates a run has time for while all workers are busy."""
    trials = [Job(plan, out, design, 0) for design in plan.designs[: workers.count]]
    pace = max((pace for _, pace in workers.run(seconds_per_update, trials)), default=seconds)
    log.info("an update takes %.1f s: %d in a run", pace, updates := max(1, round(seconds / pace)))
    return updates


def _all_scores(
    plan: Plan, out: Path, workers: Workers, progress: BenchProgress
) -> tuple[dict[str | None, list[Scores]], Audit | None]:
    """By design, None for untrained: the scores of each seed, in order; and the audit of the designs, if there are
    episodes enough for one. Incomplete if the workers were stopped.
    """
    updates = plan.training.updates
    jobs = [Job(plan, out, design, seed) for seed in range(plan.seeds) for design in plan.designs]
    done = sum(finished_updates(job) for job in jobs)
    log.info(
        "%s: %d designs, %d seeds, %d updates each, %d at a time%s",
        out, len(plan.designs), plan.seeds, updates, workers.count, f"; {done} updates are done" if done else "",
    )  # fmt: skip
    progress.begin(done, len(jobs) * updates)
    found: dict[tuple[str | None, int], Scores] = {}
    for job, scores in workers.run(do, [Job(plan, out, None, seed) for seed in range(plan.seeds)]):
        assert scores is not None
        found[None, job.seed] = scores
        if constant := constant_design(plan.designs, scores):
            raise ValueError(
                f"design {constant.name!r} = {constant.expression!r} pays the untrained model the same for each of "
                f"{plan.eval_episodes} completions, so there is nothing to learn from: change it or leave it out"
            )
    audited = _audited(plan, out, [found[None, seed] for seed in range(plan.seeds) if (None, seed) in found])
    for job, scores in workers.run(do, jobs):
        if scores is not None and job.design is not None:
            found[job.design.name, job.seed] = scores
            before, after = (found[name, job.seed].rewards[job.design.name].value for name in (None, job.design.name))
            log.info(
                "%d/%d  %s, seed %d: its reward %.3f, untrained %.3f  %s",
                len(found) - plan.seeds, len(jobs), job.design.name, job.seed, after, before,
                time_left(progress.seconds_left()),
            )  # fmt: skip
    names = [None, *(design.name for design in plan.designs)]
    return {name: [found[name, seed] for seed in range(plan.seeds) if (name, seed) in found] for name in names}, audited


def _audited(plan: Plan, out: Path, untrained: Sequence[Scores]) -> Audit | None:
    """The audit of the designs on what the untrained policy has played, which is kept in the folder.

    None, if that is too little.
    """
    episodes = [episode for scores in untrained for episode in scores.episodes]
    if len(episodes) < LEAST:
        return None
    write_episodes(out / UNTRAINED_EPISODES, episodes)
    tokens = episodes[0].tokens
    audited = audit(plan.designs, episodes, tokens.model if tokens else None, plan.training.device or "cpu")
    for warning in audited.warnings():
        log.warning("may be hacked: %s", warning)
    return audited
