"""A training run: collect, update, log, save; again until it is done, and again from where it stopped."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from dyngen_agents.algorithms.algorithm import AlgorithmConfig, acting_policy
from dyngen_agents.algorithms.registry import ALGORITHMS, actor_for, algorithm_name, default_config
from dyngen_agents.data.rated_turns import note_use
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.distributed.interrupt import Stopped, StopRequest
from dyngen_agents.distributed.processes import from_launcher
from dyngen_agents.evaluation.samples import write_samples
from dyngen_agents.runs.checkpoint import Checkpoint, open_checkpoint
from dyngen_agents.runs.config import (
    TrainConfig,
    config_from,
    kept,
    settings_of_resumed,
    train_config_from,
    with_absolute_paths,
)
from dyngen_agents.runs.folder import discard_run, find_run, mark_latest, new_run_folder
from dyngen_agents.runs.from_python import CustomReward, FromPython
from dyngen_agents.runs.from_recording import with_recorded_env
from dyngen_agents.runs.learner import Learner
from dyngen_agents.training.gpu_memory import describe_peak, peak_memory
from dyngen_agents.training.learning_curve import draw_learning_curve
from dyngen_agents.training.metrics_log import MetricsLog, Unlogged, read_metrics
from dyngen_agents.training.progress import TrainingProgress, training_progress
from dyngen_agents.training.threads import cpu_threads
from dyngen_agents.training.tracking import Tracker, check_tracker
from dyngen_env.users import User

__all__ = ["TrainConfig", "train"]

SECONDS_OF_A_FIGURE = 10.0  # between two drawings of the learning curve, which take half a second; the last is drawn
BEST = "best"  # in a run's folder: its checkpoint with the highest "validation", a run of its own

log = logging.getLogger(__name__)


def train(
    config: TrainConfig,
    algorithm: AlgorithmConfig | None = None,
    *,
    reward: CustomReward = None,
    user: User | None = None,
    stop: StopRequest | None = None,
    progress: TrainingProgress | None = None,
) -> Path:
    """Train a language model, or go on with a run, and return the run's folder.

    The folder is a checkpoint at any time (see `runs.checkpoint`), with metrics.jsonl, learning_curve.png, samples.md.
    Of an algorithm with a metric "validation" the folder best/ in it holds the checkpoint where that was highest.
    TensorBoard's events are where `tensorboard_folder` says. The first Ctrl-C ends the run early, saved;
    `config.resume` goes on with it.

    Several processes that `torchrun` or `accelerate launch` has started share one run: each calls this function with
    the same arguments, and only the first of them writes.

    Args:
        config: the run. algorithm: hyper-parameters; their type chooses the algorithm. None is PPO with its
            defaults, or the algorithm of the resumed run.
        reward: a `Reward` or a function f(text) -> float from Python, instead of `config.reward`.
        user: an object as `dyngen_env.users.User` describes it, instead of `config.user`.
        stop: tells why a run ended early; by default the function makes its own.
        progress: is told how the run goes; by default that is shown on standard error. `NoProgress()` shows nothing.

    Raises:
        ValueError, FileNotFoundError: settings that cannot work; nothing has been written.
        FloatingPointError: a number is not finite. The message names the update, the checkpoint before it is whole.
        OSError: a checkpoint could not be written; the one before it is whole.
        ProcessFailed: another process of the run has failed; the last checkpoint is whole.
    """
    checkpoint: Checkpoint | None = None
    if config.resume is None:
        config, algorithm = with_absolute_paths(with_recorded_env(config)), algorithm or default_config()
    else:
        config, algorithm, checkpoint = _resumed(config, algorithm)
    check_tracker(config.track)
    processes, given = from_launcher(), FromPython(reward, user)
    learner = Learner(config, algorithm, given, checkpoint=checkpoint, processes=processes)
    run = checkpoint.folder if checkpoint else processes.once(lambda: _new_run(learner))
    if processes.first:
        mark_latest(run)
    with (
        stop or StopRequest() as stop,
        _metrics_log(run, learner) if processes.first else Unlogged() as metrics_log,
        progress or training_progress(learner.iteration, config.updates, shown=processes.first) as progress,
    ):
        shared = f", shared by {processes.world_size} processes" if processes.world_size > 1 else ""
        progress.say(
            f"{'resuming' if checkpoint else 'run'} {run}: {learner.model} learns in {config.env}, "
            f"update {learner.iteration} of {config.updates}{shared}"
        )
        with cpu_threads(config.threads, learner.policy, progress.say):
            _Loop(learner, run, stop, metrics_log, progress).run()
            if peak := describe_peak(learner.env.device):
                progress.say(peak)
            if processes.first and learner.env.asks_people:
                progress.say("no samples, about which people would be asked")
            elif processes.first:
                progress.phase("sampling")
                acting = acting_policy(learner.algorithm, learner.policy)
                actor = partial(actor_for, learner.algorithm_config)
                write_samples(run, learner.config, acting, learner.reference, given, actor)
    return run


def _new_run(learner: Learner) -> Path:
    """A folder with the first checkpoint: a full disk shows at once, and the run can be resumed from then on."""
    run = new_run_folder(learner.config.out, learner.name)
    try:
        learner.save(run)
        if learner.feedback is not None:
            note_use(learner.config.feedback or "", run, learner.feedback.feedback)
    except BaseException:
        discard_run(run)
        raise
    return run


class _Loop:
    """The updates of one process."""

    def __init__(
        self,
        learner: Learner,
        run: Path,
        stop: StopRequest,
        metrics_log: MetricsLog | Unlogged,
        progress: TrainingProgress,
    ):
        self.learner, self.folder, self.stop = learner, run, stop
        self.metrics_log, self.progress = metrics_log, progress
        self.saved = learner.iteration  # the checkpoint on disk
        self.drawn, self.drawn_at = learner.iteration, time.monotonic()  # the update that the figure shows, and when
        self.began, self.first, self.earlier = time.monotonic(), learner.iteration, learner.seconds

    def run(self) -> None:
        """Update until the updates or the time are used up, or somebody asks to stop."""
        learner, config = self.learner, self.learner.config
        while learner.iteration < config.updates and not learner.processes.any(self._is_over()):
            before = time.monotonic()
            try:
                self.progress.phase("playing")
                batch = self._play()
                self.progress.phase("learning")
                metrics = learner.learn(batch)
            except Stopped:
                break
            except FloatingPointError as error:  # whatever is in memory now is not worth keeping
                raise FloatingPointError(
                    f"update {learner.iteration + 1} of {config.updates} has no finite result: {error}. The checkpoint "
                    f"of update {self.saved} in {self.folder} is whole: start a new run from it, by "
                    f"model={str(self.folder)!r}, with a lower learning_rate or a tamer reward"
                ) from error
            learner.seconds = self.earlier + time.monotonic() - self.began
            rate = int(batch.completion_mask.sum()) / (time.monotonic() - before)
            metrics |= {"tokens_per_second": round(rate, 1), "seconds": round(learner.seconds, 2)}
            metrics |= peak_memory(learner.env.device)
            self.metrics_log.write(metrics)
            self.progress.update(metrics, self.seconds_left())
            if learner.iteration % config.save_every == 0:
                self.save()
        self.save()
        if learner.processes.first and self.drawn < learner.iteration:
            self._draw()

    def _play(self) -> Trajectories:
        """The next rollout. If it fails, by an error in a reward say, the updates so far are saved."""
        try:
            return self.learner.play(self._on_token)
        except (Stopped, FloatingPointError):
            raise
        except Exception:
            self.save()
            log.error("update %d stopped in its rollout; %s holds what was learned before", self.saved + 1, self.folder)
            raise

    def save(self) -> None:
        """Write a checkpoint and the figure, if updates have been made since the last. Only one process writes."""
        if self.saved == self.learner.iteration:
            return
        if self.learner.processes.first:
            self._write()
        self.saved = self.learner.iteration

    def _write(self) -> None:
        self.metrics_log.sync()
        if self.learner.is_best():  # first: killed between the two, a resumed run comes here again
            self.learner.save(self.folder / BEST)
        self.learner.save(self.folder)
        if time.monotonic() - self.drawn_at > SECONDS_OF_A_FIGURE:
            self._draw()

    def _draw(self) -> None:
        title = f"{Path(self.learner.model).name} learns by {self.learner.name} in {self.learner.config.env}"
        draw_learning_curve(self.folder / "learning_curve.png", read_metrics(self.folder), title)
        self.drawn, self.drawn_at = self.learner.iteration, time.monotonic()

    def _is_over(self) -> bool:
        return self.seconds_left() <= 0 or self.stop.signal is not None

    def seconds_left(self) -> float:
        """The time until the run ends, at its pace so far; 0 if its minutes are used up."""
        config, passed = self.learner.config, time.monotonic() - self.began
        done = self.learner.iteration - self.first
        left = (config.updates - self.learner.iteration) * passed / done if done else float("inf")
        return left if config.max_minutes is None else min(left, max(0.0, 60 * config.max_minutes - passed))

    def _on_token(self, count: int) -> None:
        self.progress.tokens(count)
        if self.stop.signal is not None:
            raise Stopped


def _metrics_log(run: Path, learner: Learner) -> MetricsLog:
    """The log of a run, and of its experiment tracker if it has one."""
    if learner.config.track is None:
        return MetricsLog(run, learner.iteration)
    settings = {"algorithm": learner.name, **asdict(learner.config), **asdict(learner.algorithm_config)}
    return MetricsLog(run, learner.iteration, Tracker(learner.config.track, run, settings))


def _resumed(config: TrainConfig, algorithm: AlgorithmConfig | None) -> tuple[TrainConfig, AlgorithmConfig, Checkpoint]:
    """What the resumed run was started with, and its checkpoint."""
    checkpoint = open_checkpoint(find_run(config.resume or "latest"))
    record: dict[str, Any] = checkpoint.record
    name = record["algorithm"]
    if algorithm is not None and name != algorithm_name(algorithm):
        raise ValueError(f"the run in {checkpoint.folder} is trained by {name}, not by {algorithm_name(algorithm)}")
    kind: type[AlgorithmConfig] = ALGORITHMS[name].Config
    saved = config_from(kind, record["algorithm_config"])
    settings = settings_of_resumed(with_absolute_paths(config), train_config_from(record["train"]))
    return settings, saved if algorithm is None else kept(algorithm, saved), checkpoint
