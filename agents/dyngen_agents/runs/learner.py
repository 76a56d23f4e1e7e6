"""A run in memory: env, policy and algorithm, as of `iteration` finished updates.

Everything random in update k is derived from the run's seed and k: the env's rows and the actor's uniforms are seeded
anew for it, and the minibatch permutations follow from the number of updates. So the number of finished updates is the
whole state of env and random streams, and a run that stops and goes on equals one that never stopped.
"""

from __future__ import annotations

import platform
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dyngen_agents.algorithms.algorithm import AlgorithmConfig, LearnsFromRecorded
from dyngen_agents.algorithms.registry import ALGORITHMS, algorithm_name
from dyngen_agents.data.offline import read_recorded
from dyngen_agents.data.rated_turns import RatedEpisodes, last_feedback, read_rated
from dyngen_agents.data.reward_scale import RewardScale, scaled_rewards, standardising
from dyngen_agents.data.shared_rollout import EnvPlay
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.lora import add_lora, load_lora
from dyngen_agents.runs.checkpoint import Checkpoint, save_checkpoint
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.environment import credit_of, make_env
from dyngen_agents.runs.from_python import NOTHING, FromPython
from dyngen_agents.runs.models import check_base, policy_and_reference
from dyngen_agents.runs.task_progress import TaskProgress
from dyngen_agents.runs.tasks import by_task, task_metrics, tasks_of
from dyngen_env import __version__
from dyngen_env.lm.loading.fingerprint import fingerprint
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.scoring.diversity import distinct_n
from dyngen_env.scoring.people import played_by

EPISODES_TO_SCALE_BY = 256  # Ziegler et al. 2019


class Learner:
    """Plays and learns, one update at a time.

    Args:
        config, algorithm_config: the settings.
        given: what came from Python, used instead of what the settings name.
        checkpoint: where to go on; None begins with the configured model.
        processes: share the rows of a rollout and the work of an update. The settings' numbers are those of all.

    Raises:
        ValueError: settings that cannot work.
    """

    def __init__(
        self,
        config: TrainConfig,
        algorithm_config: AlgorithmConfig,
        given: FromPython = NOTHING,
        *,
        checkpoint: Checkpoint | None = None,
        processes: Processes = SINGLE_PROCESS,
    ):
        self.config, self.algorithm_config, self.processes = config, algorithm_config, processes
        self.name = algorithm_name(algorithm_config)
        for name in ("episodes", "num_envs") if config.num_envs < config.episodes else ("episodes",):
            if getattr(config, name) % processes.world_size:
                raise ValueError(
                    f"{name}={getattr(config, name)} cannot be split over {processes.world_size} processes: choose a "
                    f"multiple of {processes.world_size} (it is the number of all processes together)"
                )
        self.given = given
        if checkpoint is not None:
            given.check_against(checkpoint.record)
            check_base(checkpoint.record)
        rows = min(config.num_envs, config.episodes) // processes.world_size
        self.env = make_env(
            config,
            rows,
            "train",
            given.reward,
            given.user,
            credit_of(config, getattr(algorithm_config, "gamma", None)),
        )
        self.model: str = self.env.model  # type: ignore[assignment]  # make_env has seen to it
        device, dtype = self.env.device, getattr(torch, config.dtype)
        source = str(checkpoint.folder) if checkpoint and not config.lora_rank else self.model
        lm = load_model(source, device=device, dtype=dtype, fresh=True)
        if config.lora_rank:
            add_lora(lm, config.lora_rank, config.seed)
            if checkpoint:
                load_lora(lm, checkpoint.folder)
        # The base of a model with adapters is in it: no second copy is needed.
        untrained = lm if config.lora_rank else load_model(self.model, device=device, dtype=dtype)
        self.model_fingerprint = fingerprint(self.model)
        self.policy, self.reference = policy_and_reference(self.env, lm, untrained, config.sampling)
        self.policy.trunk.captured = config.capture_updates
        if config.gradient_checkpointing:
            self.policy.trunk.checkpoint_layers()
        self.tasks = tasks_of(config, given)
        self.task_progress: TaskProgress | None = None
        if config.task_weights == "progress":
            if not self.tasks:
                raise ValueError(f"task_weights='progress': {config.env} plays one task; name several by tasks=...")
            self.task_progress = TaskProgress()
            self._shares = self.env.task.shares  # type: ignore[attr-defined]  # of a mixture
        self.algorithm = ALGORITHMS[self.name](
            self.policy,
            self.reference,
            algorithm_config,
            total_updates=config.updates,
            episodes=config.episodes,
            seed=config.seed,
            processes=processes,
        )
        self.feedback: RatedEpisodes | None = None
        self._read_recorded(checkpoint)
        self.iteration, self.seconds, self.reward_scale = 0, 0.0, RewardScale()
        self.validation: float | None = None  # "validation" of the last update, if the algorithm has such a metric,
        self.best_validation: float | None = None  # and of the best checkpoint
        if checkpoint is not None:
            self._restore(checkpoint)
        elif config.normalise_reward:
            count = -(-EPISODES_TO_SCALE_BY // processes.world_size) * processes.world_size  # as many for each
            played = self._play("scale", count)(partial(Actor, self.policy, processes=processes))
            self.reward_scale = standardising(played.episode_returns)

    def play(self, on_token: Callable[[int], None] | None = None) -> Trajectories:
        """The episodes of the next update, of all processes. Changes nothing that a checkpoint holds.

        Raises:
            Stopped: `on_token` raised it, here or in another process.
            FloatingPointError: the policy's log-probs are not finite, so its weights are of no use.
            ValueError: the env got a reward that is not a finite number.
            ProcessFailed: another process has failed.
        """
        version = f"{self.name} update {self.iteration}, seed {self.config.seed}" if self.iteration else ""
        who = dict(model=self.model, fingerprint=self.model_fingerprint, version=version)
        with played_by(**who, sampling=asdict(self.config.sampling)):
            batch = self.algorithm.experience(self._play("play", self.config.episodes, on_token))
        if not batch.logprobs.isfinite().all():
            raise FloatingPointError("the policy gives log-probs that are not finite")
        return batch

    def learn(self, batch: Trajectories) -> dict[str, Any]:
        """One update from a batch, and its metrics.

        Raises:
            FloatingPointError: a loss, a gradient or a weight is not finite. Earlier gradient steps of the same update
                may have been taken: go on from a checkpoint, not from here.
        """
        rewards = scaled_rewards(batch, self.reward_scale, self.config.missing_eos_penalty)
        learned = self.algorithm.update(replace(batch, rewards=rewards))
        for name, value in learned.items():
            if not np.isfinite(value):
                raise FloatingPointError(f"{name} is {value}")
        if not torch.stack([parameter.isfinite().all() for parameter in self.policy.parameters()]).all():
            raise FloatingPointError("a weight is not finite after the optimizer's step")
        self.iteration += 1
        self.validation = learned.get("validation")
        returns = batch.episode_returns
        if self.task_progress is not None:
            means = {task.name: float(returns[rows].mean()) for task, rows in by_task(batch, self.tasks)}
            self.task_progress = self.task_progress.with_more(means)
        return {
            "update": self.iteration,
            "episodes": self.iteration * len(batch),
            "reward": float(returns.mean()),
            "reward_std": float(returns.std(correction=0)),
            "reward_terms": {name: float(paid.mean()) for name, paid in batch.reward_terms.items()},
            "length": float(batch.completion_lengths.float().mean()),
            "distinct_2": distinct_n(batch.texts, 2),
            "stopped": int(batch.stopped.sum()) / len(batch),
            "idle_share": batch.idle_share,
            **({"tasks": task_metrics(batch, self.tasks)} if self.tasks else {}),
            **learned,
        }

    def is_best(self) -> bool:
        """Whether the last update has a higher "validation" than all those for which this was asked before."""
        better = self.validation is not None and (
            self.best_validation is None or self.validation > self.best_validation
        )
        if better:
            self.best_validation = self.validation
        return better

    def save(self, run: Path) -> None:
        """Write the checkpoint of this moment. Raises OSError as `save_checkpoint`."""
        state = self.algorithm.state()
        record = {
            "algorithm": self.name,
            "iteration": self.iteration,
            "seconds": round(self.seconds, 1),
            "model": self.model,
            "model_fingerprint": self.model_fingerprint,
            "train": asdict(self.config),
            "algorithm_config": asdict(self.algorithm_config),
            **self.given.names(),
            "banned": [] if self.env.banned is None else list(self.env.banned.words),
            "algorithm_state": state.values,
            "reward_scale": asdict(self.reward_scale),
            "task_progress": self.task_progress and asdict(self.task_progress),
            "best_validation": self.best_validation,
            "feedback_until": self.feedback and self.feedback.until,
            "versions": versions(),
        }
        save_checkpoint(run, self.policy.lm, load_tokenizer(self.model), state.tensors, record, state.files)

    def _read_recorded(self, checkpoint: Checkpoint | None) -> None:
        """Give the algorithm the episodes of `config.data` or `config.feedback`: those that the run began with.

        Raises:
            ValueError: the algorithm has no use for them, or they cannot be learned from.
        """
        config = self.config
        source = {"data": config.data, "feedback": config.feedback}
        given = {name: where for name, where in source.items() if where is not None}
        if not isinstance(self.algorithm, LearnsFromRecorded):
            able = [name for name, kind in ALGORITHMS.items() if issubclass(kind, LearnsFromRecorded)]
            for name, where in given.items():
                raise ValueError(
                    f"{self.name} learns from episodes of its own, not from {name}={where!r}: leave that out, or train "
                    f"{' or '.join(able)}"
                )
        elif config.feedback is not None:
            until = checkpoint and checkpoint.record.get("feedback_until")
            [until, *_] = self.processes.exchange(until if checkpoint else last_feedback(config.feedback))
            self.feedback = read_rated(config.feedback, self.env, until)
            self.algorithm.read(self.feedback.episodes)
        else:
            self.algorithm.read(None if config.data is None else read_recorded(config.data, self.env))

    def _play(self, purpose: str, episodes: int, on_token: Callable[[int], None] | None = None) -> EnvPlay:
        """What plays so many episodes for a purpose: equal for equal seed, purpose and number of updates."""
        if self.task_progress is not None:
            self.env.set_task_weights(self.task_progress.weights(self._shares))
        return EnvPlay(
            self.env,
            episodes,
            seed=self._seed(f"{purpose}: env"),
            actor_seed=self._seed(f"{purpose}: actor"),
            on_token=on_token,
            processes=self.processes,
            reward_scale=self.reward_scale,
            missing_eos_penalty=self.config.missing_eos_penalty,
        )

    def _seed(self, stream: str) -> int:
        """A seed for one use of chance in the next update, independent of all others."""
        entropy = (self.config.seed, self.iteration, zlib.crc32(stream.encode()))
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)

    def _restore(self, checkpoint: Checkpoint) -> None:
        record = checkpoint.record
        self.iteration, self.seconds = record["iteration"], record["seconds"]
        self.reward_scale = RewardScale(**record["reward_scale"])
        self.best_validation = record.get("best_validation")
        if self.task_progress is not None:
            self.task_progress = TaskProgress(**record["task_progress"])
        self.algorithm.load_state(checkpoint.algorithm_state())


def versions() -> dict[str, str]:
    """Versions of what the numbers of a run depend on, by the names of the distributions."""
    found = {"python": platform.python_version(), "dyngen-env": __version__}
    return found | {package: version(package) for package in ("torch", "transformers", "gymnasium", "numpy")}
