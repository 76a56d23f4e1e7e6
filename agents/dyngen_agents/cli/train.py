"""`dyngen train [ALGORITHM]`: a run from its first update to its evaluation."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from dyngen_agents.algorithms.algorithm import AlgorithmConfig
from dyngen_agents.algorithms.registry import ALGORITHMS, DEFAULT, default_config
from dyngen_agents.cli.hints import command_line, mention_idle_gpu
from dyngen_agents.cli.options import Command
from dyngen_agents.cli.tables import evaluation_table, samples_table
from dyngen_agents.distributed.interrupt import StopRequest
from dyngen_agents.distributed.processes import from_launcher
from dyngen_agents.evaluation.evaluate import evaluate
from dyngen_agents.evaluation.samples import SAMPLES
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.opened_run import open_run
from dyngen_agents.training.metrics_log import tensorboard_folder
from dyngen_agents.training.progress import NoProgress, console
from dyngen_agents.training.train import train

log = logging.getLogger(__name__)

ENOUGH = 1 / 4  # of a run's updates; one that ended with fewer has hardly begun to learn


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a language model in an environment, or go on with a run (--resume)."""

    common = (
        "env", "data", "feedback", "model", "reward", "prompts", "user", "max_new_tokens", "updates", "max_minutes",
        "episodes", "num_envs", "seed", "device", "threads", "lora_rank", "out", "track", "resume", "eval_episodes",
        "json", "quiet", "learning_rate", "epochs", "minibatch_size", "baseline", "group_size", "kl_coef",
        "top_fraction", "human", "d_weight", "d_credit", "forks", "fork_at", "fork_every",
    )  # fmt: skip
    not_offered = ("top_k", "top_p")  # of the distribution: only its temperature can be trained with
    algorithm_named: ClassVar[bool] = False

    training: TrainConfig = field(default_factory=TrainConfig)
    algorithm: AlgorithmConfig = field(default_factory=default_config)
    eval_episodes: int = 256
    """Episodes of the evaluation at the end, on prompts that were not trained on; 0 leaves it out. A run does not keep
    it: give it again with --resume."""
    json: bool = False
    """Print one JSON object, {"run", "evaluation"}, to standard output, and all else to standard error."""

    @classmethod
    def chosen(cls, arguments: Sequence[str]) -> tuple[type[Command], Sequence[str], str]:
        """The form of the algorithm that is named first; of the default one if none is."""
        if not arguments or arguments[0].startswith("-"):
            return _form(DEFAULT, named=False), arguments, ""
        name, *rest = arguments
        if name not in ALGORITHMS:
            near = difflib.get_close_matches(name, ALGORITHMS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"unknown algorithm {name!r}: {hint}Expected one of {', '.join(ALGORITHMS)}")
        return _form(name, named=True), rest, name

    def execute(self) -> int:
        """Train, show samples and an evaluation, and say what can be done next."""
        stop, processes = StopRequest(), from_launcher()
        if not processes.first:
            logging.getLogger("dyngen_agents").setLevel(logging.ERROR)  # the first process speaks for all
        if self.training.resume is None:
            mention_idle_gpu(self.training.device)
        progress = NoProgress() if self.quiet else None
        run = train(self.training, self._algorithm(), stop=stop, progress=progress)
        processes.leave()
        if not processes.first:
            return 0 if stop.signal is None else 128 + stop.signal
        shown = console if self.json else Console()
        if not self.quiet and (run / SAMPLES).exists():
            shown.print(samples_table((run / SAMPLES).read_text(encoding="utf-8")))
        _mention_what_is_left(open_checkpoint(run, training=False).record, run, stop)
        if stop.signal is not None:
            return 128 + stop.signal
        evaluation = None
        if self.eval_episodes and open_run(run).env.asks_people:
            log.info("no evaluation, for which people would be asked: %s asks them", command_line("eval", str(run)))
        elif self.eval_episodes:
            log.info("evaluating on %d completions of prompts that were not trained on", self.eval_episodes)
            evaluation = evaluate(run, self.eval_episodes)
            if not (self.json and self.quiet):
                shown.print(evaluation_table(evaluation))
        board = command_line("--logdir", str(tensorboard_folder(run)), program="tensorboard", module="tensorboard.main")
        log.info("see %s: learning_curve.png, samples.md, metrics.jsonl; %s", run, board)
        log.info("next: %s", command_line("inspect", str(run)))
        if self.json:
            print(json.dumps({"run": str(run), "evaluation": evaluation}))
        return 0

    def _algorithm(self) -> AlgorithmConfig | None:
        """The settings of the algorithm; None, the run's own, where a run goes on and nothing was said about them."""
        asked = self.algorithm_named or self.algorithm != default_config()
        return self.algorithm if asked or self.training.resume is None else None


def _form(name: str, named: bool) -> type[Train]:
    """`Train` with the options of one algorithm."""
    config = ALGORITHMS[name].Config
    form: Any = make_dataclass(
        "Train",
        [("algorithm", config, field(default_factory=config))],
        bases=(Train,),
        namespace={"algorithm_named": named},
        frozen=True,
        kw_only=True,
    )
    if named:
        form.__doc__ = config.__doc__
    else:
        lines = [
            f"{each}: {inspect.cleandoc(ALGORITHMS[each].Config.__doc__ or '').splitlines()[0]}" for each in ALGORITHMS
        ]
        form.__doc__ = f"{Train.__doc__}\n\n" + "\n".join(lines) + f"\n\nWithout a name it is {name}, as here."
    return form


def _mention_what_is_left(record: dict[str, Any], run: Path, stop: StopRequest) -> None:
    """Say how a run that has ended early goes on."""
    done, total = record["iteration"], record["train"]["updates"]
    go_on = command_line("train", record["algorithm"], "--resume", str(run))
    if done < ENOUGH * total and stop.signal is None:
        log.warning("%d of %d updates in %s: too few to learn from; go on with %s", done, total, _time(record), go_on)
    elif done < total:
        log.info("%d updates are left. Go on: %s", total - done, go_on)


def _time(record: dict[str, Any]) -> str:
    """How long a run has learned, in words."""
    seconds = round(record["seconds"])
    return f"{round(seconds / 60)} minutes" if seconds >= 90 else f"{seconds} seconds"
