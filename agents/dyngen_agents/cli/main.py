"""The command `dyngen`: train, eval, inspect, generate, bench."""

from __future__ import annotations

import json as json_format
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import gymnasium as gym
import torch
import tyro
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.text import Text
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from dyngen_agents.algorithms.algorithm import AlgorithmConfig
from dyngen_agents.algorithms.registry import ALGORITHMS, DEFAULT
from dyngen_agents.cli.tables import evaluation_table, samples_table
from dyngen_agents.distributed.interrupt import StopRequest
from dyngen_agents.distributed.processes import ProcessFailed, from_launcher
from dyngen_agents.evaluation.evaluate import evaluate
from dyngen_agents.evaluation.samples import SAMPLES
from dyngen_agents.inspection.inspect_run import inspect_run
from dyngen_agents.inspection.page import write_page
from dyngen_agents.reward_bench import RewardBench, bench_rewards
from dyngen_agents.reward_bench.outcome import RESULTS
from dyngen_agents.reward_bench.terminal import outcome_table
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.folder import find_run
from dyngen_agents.training.progress import console
from dyngen_agents.training.train import train
from dyngen_env.lm.decoding import generate
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.text.huggingface import HFTokenizer

log = logging.getLogger(__name__)

WRONG_INPUT, FAILED = 2, 1  # exit codes; a signal's is 128 + its number


@dataclass(frozen=True)
class TrainBy:
    """The options of every `dyngen train <algorithm>`; a subclass has the algorithm's own as `algorithm`."""

    training: TrainConfig = field(default_factory=TrainConfig)
    eval_episodes: int = 256
    """Episodes of the evaluation at the end, on prompts that were not trained on; 0 leaves it out."""
    json: bool = False
    """Print one JSON object, {"run", "evaluation"}, to standard output, and all else to standard error."""
    traceback: bool = False
    """Show where an error came from."""


def _train_by(name: str, config: type[AlgorithmConfig]) -> Any:
    """The options of `dyngen train <name>`, whose help is the docstring of the algorithm's configuration."""
    own = ("algorithm", config, field(default_factory=config))
    kind = make_dataclass(f"TrainBy{name.upper()}", [own], bases=(TrainBy,), frozen=True)
    kind.__doc__ = config.__doc__
    return kind


TRAIN_BY = {name: _train_by(name, kind.Config) for name, kind in ALGORITHMS.items()}
AnyTrainBy: Any = Union[tuple(Annotated[kind, subcommand(name)] for name, kind in TRAIN_BY.items())]  # noqa: UP007


@dataclass(frozen=True)
class Train:
    """Train a language model in an environment, or go on with a run (--resume)."""

    by: AnyTrainBy = field(default_factory=TRAIN_BY[DEFAULT])  # type: ignore[valid-type]
    """The algorithm."""


@dataclass(frozen=True)
class Eval:
    """Compare a run's model with the untrained one, on prompts that were not trained on."""

    run: Positional[str]
    """A run's folder, its name in runs/, or "latest"."""
    episodes: int = 256
    """How many completions of each model."""
    seed: int = 0
    """Of the choice of prompts and of the sampling; both models get the same."""
    device: str | None = None
    """Where models run; None is the run's own device."""
    json: bool = False
    """Print one JSON object, {"trained", "untrained"}, to standard output, and all else to standard error."""
    traceback: bool = False
    """Show where an error came from."""


@dataclass(frozen=True)
class Inspect:
    """Why did it write that? Play some episodes and make a page on which every token tells its numbers."""

    run: Positional[str]
    """A run's folder, its name in runs/, or "latest"."""
    episodes: int = 8
    """How many completions."""
    seed: int = 0
    """Of the choice of prompts and of the sampling."""
    split: Literal["train", "tune", "eval"] = "eval"
    """Which part of the prompts; those of "eval" were not trained on."""
    prompt: tuple[str, ...] = ()
    """Texts to begin with instead."""
    out: str | None = None
    """The page. None is inspection.html in the run's folder."""
    device: str | None = None
    """Where models run; None is the run's own device."""
    json: bool = False
    """Print the page's data as one JSON object to standard output, and all else to standard error."""
    traceback: bool = False
    """Show where an error came from."""


@dataclass(frozen=True)
class Generate:
    """Let a run's model complete prompts."""

    run: Positional[str]
    """A run's folder, its name in runs/, "latest", or any model: "reviews-lm", a folder, a .gguf file, a hub id."""
    prompt: tuple[str, ...]
    """One or more texts to complete."""
    decode: Literal["greedy", "beam", "sample"] = "sample"
    """The likeliest token each time; the likeliest text that a beam finds; or chance."""
    temperature: float = 1.0
    """Of sampling; below 1 is bolder, above 1 more varied."""
    top_k: int = 0
    """Sample among the k likeliest tokens; 0 is all."""
    top_p: float = 1.0
    """Sample among the likeliest tokens that have this mass together; 1 is all."""
    num_beams: int = 4
    """Width of the beam."""
    max_new_tokens: int = 32
    """Length of a completion, at most."""
    n: int = 1
    """Completions of each prompt."""
    seed: int = 0
    """Of sampling."""
    device: str = "cpu"
    """Where the model runs."""
    json: bool = False
    """Print one JSON object, {"model", "completions": [{"prompt", "texts"}]}, to standard output."""
    traceback: bool = False
    """Show where an error came from."""


@dataclass(frozen=True)
class Bench:
    """Compare reward designs: train the same agent under each, and measure each agent by all of them and by more."""

    what: Positional[Literal["rewards"]]
    """What is compared."""
    bench: RewardBench = field(default_factory=RewardBench)
    json: bool = False
    """Print one JSON object, the content of results.json, to standard output."""
    traceback: bool = False
    """Show where an error came from."""


@dataclass(frozen=True)
class Dyngen:
    """Train a language model on feedback, see what it has learned, and let it write."""

    command: (
        Annotated[Train, subcommand("train")]
        | Annotated[Eval, subcommand("eval")]
        | Annotated[Inspect, subcommand("inspect")]
        | Annotated[Generate, subcommand("generate")]
        | Annotated[Bench, subcommand("bench")]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 for a failure, 2 for input that cannot work, 128 + n by signal."""
    command = tyro.cli(
        Dyngen,
        prog="dyngen",
        args=arguments,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes, FlagCreatePairsOff),
    ).command
    _log_to_stderr()
    options = command.by if isinstance(command, Train) else command
    try:
        match options:
            case Eval():
                return _eval(options)
            case Inspect():
                return _inspect(options)
            case Generate():
                return _generate(options)
            case Bench():
                return _bench(options)
            case TrainBy():
                return _train(options, options.algorithm)  # type: ignore[attr-defined]
        raise AssertionError(options)
    except KeyboardInterrupt:
        console.print("aborted; what was saved before is whole", style="bold red")
        return 130
    except (ValueError, FileNotFoundError, FileExistsError, ImportError, gym.error.Error) as error:
        return _failed(error, options.traceback, WRONG_INPUT)
    except (FloatingPointError, OSError, ProcessFailed, torch.OutOfMemoryError) as error:
        return _failed(error, options.traceback, FAILED)


def _train(options: TrainBy, algorithm: AlgorithmConfig) -> int:
    stop, processes = StopRequest(), from_launcher()
    if not processes.first:
        logging.getLogger("dyngen_agents").setLevel(logging.ERROR)  # the first process speaks for all
    run = train(options.training, algorithm, stop=stop)
    processes.leave()
    if not processes.first:
        return 0 if stop.signal is None else 128 + stop.signal
    shown = console if options.json else Console()
    shown.print(samples_table((run / SAMPLES).read_text(encoding="utf-8")))
    record = open_checkpoint(run, training=False).record
    left = record["train"]["updates"] - record["iteration"]
    if left:
        log.info("%d updates are left. Go on: dyngen train %s --resume %s", left, record["algorithm"], run)
    if stop.signal is not None:
        return 128 + stop.signal
    evaluation = None
    if options.eval_episodes:
        log.info("evaluating on %d completions of prompts that were not trained on", options.eval_episodes)
        evaluation = evaluate(run, options.eval_episodes)
        shown.print(evaluation_table(evaluation))
    log.info("see %s: learning_curve.png, samples.md, metrics.jsonl; tensorboard --logdir %s", run, run)
    if options.json:
        print(json_format.dumps({"run": str(run), "evaluation": evaluation}))
    return 0


def _eval(options: Eval) -> int:
    run = find_run(options.run)
    log.info("evaluating %s", run)
    evaluation = evaluate(run, options.episodes, options.seed, device=options.device)
    if options.json:
        print(json_format.dumps(evaluation))
    else:
        Console().print(evaluation_table(evaluation))
    return 0


def _inspect(options: Inspect) -> int:
    run = find_run(options.run)
    data = inspect_run(
        run, options.episodes, options.seed, split=options.split, prompts=options.prompt, device=options.device
    )
    page = Path(options.out).expanduser() if options.out else run / "inspection.html"
    write_page(data, page)
    log.info("see %s", page)
    if options.json:
        print(json_format.dumps(data))
    return 0


def _generate(options: Generate) -> int:
    name, banned = _model_of(options.run)
    texts = generate(
        load_model(name, device=options.device),
        HFTokenizer(load_tokenizer(name)),
        list(options.prompt),
        decode=options.decode,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        num_beams=options.num_beams,
        n=options.n,
        seed=options.seed,
        banned=banned,
    )
    if options.json:
        answers = [{"prompt": p, "texts": t} for p, t in zip(options.prompt, texts, strict=True)]
        print(json_format.dumps({"model": name, "completions": answers}))
        return 0
    out = Console()
    for prompt, completions in zip(options.prompt, texts, strict=True):
        for text in completions:
            out.print(Text.assemble((prompt, "bold"), text))
    return 0


def _bench(options: Bench) -> int:
    stop = StopRequest()
    out = bench_rewards(options.bench, stop)
    if stop.signal is not None:
        log.info("not all runs are finished. Go on: the same command with --out %s", out)
        return 128 + stop.signal
    log.info("see %s: report.md, matrix.png, curves.png, results.json", out)
    results = json_format.loads((out / RESULTS).read_text(encoding="utf-8"))
    (console if options.json else Console()).print(outcome_table(results))
    if options.json:
        print(json_format.dumps(results))
    return 0


def _model_of(name: str) -> tuple[str, Sequence[str]]:
    """The folder of a run, verified, and the words that it may not write; or `name` itself if it is no run."""
    try:
        run = find_run(name)
    except FileNotFoundError:
        if name == "latest":
            raise
        return name, ()
    checkpoint = open_checkpoint(run, training=False)
    # Runs of version 0.1 know only what was asked for, not what the env says by itself.
    return str(checkpoint.folder), checkpoint.record.get("banned", checkpoint.record["train"].get("banned") or ())


def _log_to_stderr() -> None:
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(
            console=console, show_time=False, show_path=False, show_level=False, highlighter=NullHighlighter()
        )
    else:
        handler = logging.StreamHandler()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("dyngen_agents").setLevel(logging.INFO)


def _failed(error: BaseException, traceback: bool, code: int) -> int:
    if traceback:
        console.print_exception()
    console.print(f"dyngen: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    return code
