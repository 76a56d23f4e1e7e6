"""`dyngen frontier NAME=RUN,RUN ...`: what runs bought in reward for a nat, beside the untrained model's best of n."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from dyngen_agents.cli.options import Command
from dyngen_agents.evaluation.evaluate import evaluate
from dyngen_agents.evaluation.frontier import draw_frontier, frontier_table, read_path
from dyngen_agents.runs.folder import find_run
from dyngen_agents.runs.opened_run import open_run

log = logging.getLogger(__name__)

PICTURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True, kw_only=True)
class Frontier(Command):
    """Compare runs as reward over KL: a table and a picture.

    Runs of one group, its seeds, are given together: dyngen frontier ppo=runs/a,runs/b grpo=runs/c
    """

    runs: Positional[tuple[str, ...]]
    """NAME=RUN,RUN ...: a name for the legend, and folders or names of training runs in the same environment."""
    out: Path = Path("frontier.png")
    """The picture."""
    episodes: int = 256
    """Completions of unseen prompts that each run is measured by."""
    best_of: int = 32
    """The untrained model's best of 1, 2, 4 ... completions up to this number is drawn as a line. 0 leaves it out."""
    device: str | None = None
    """Where models run, such as "cuda". By default each run's own device."""
    json: bool = False
    """Print one JSON object, {"groups", "best_of_n"}, to standard output, and all else to standard error."""

    def execute(self) -> int:
        """Evaluate all runs, draw, and show the table."""
        groups = {name: [find_run(run) for run in runs] for name, runs in named_runs(self.runs).items()}
        paths = {name: [read_path(run) for run in runs] for name, runs in groups.items()}
        check_comparable([run for runs in groups.values() for run in runs])
        check_picture(self.out)
        line = None
        evaluations: dict[str, list] = {}
        for name, runs in groups.items():
            for run in runs:
                log.info("evaluating %s of %s", run, name)
                best_of = self.best_of if line is None else 0  # once: all runs began with the same model
                result = evaluate(run, self.episodes, device=self.device, best_of=best_of)
                line = line or result["untrained"].get("best_of_n")
                evaluations.setdefault(name, []).append(result)
        draw_frontier(self.out, paths, evaluations, line, "What a nat buys")
        log.info("%s was drawn", self.out)
        if self.json:
            print(json.dumps({"groups": evaluations, "best_of_n": line}))
            return 0
        heading, *rows = frontier_table(evaluations, line)
        table = Table(*heading, header_style="bold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return 0


def check_comparable(runs: list[Path]) -> None:
    """Raises ValueError unless all runs began with the same model in the same environment."""
    began: dict[tuple[str, str], Path] = {}
    for run in runs:
        record = open_run(run).record
        began.setdefault((record["train"]["env"], record["model"]), run)
    if len(began) > 1:
        listed = "; ".join(f"{run}: {model} in {env}" for (env, model), run in began.items())
        raise ValueError(
            f"the runs do not compare, since KL is measured from the model that a run began with: {listed}"
        )


def check_picture(out: Path) -> None:
    """Raises ValueError, before the work is done, if a picture cannot be written there."""
    if not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.absolute().parent}")
    if out.suffix.lower() not in PICTURES:
        raise ValueError(f"--out {out} ends in {out.suffix or 'nothing'!r}: expected {', '.join(PICTURES)}")


def named_runs(arguments: tuple[str, ...]) -> dict[str, list[str]]:
    """{"ppo": ["runs/a", "runs/b"]} of ("ppo=runs/a,runs/b",).

    Raises:
        ValueError: an argument is not of that form, or a name stands twice.
    """
    groups: dict[str, list[str]] = {}
    for argument in arguments:
        name, equals, runs = argument.partition("=")
        folders = [run for run in runs.split(",") if run]
        if not (name and equals and folders):
            raise ValueError(f"{argument!r} is no group of runs: expected NAME=RUN,RUN, as in ppo=runs/a,runs/b")
        if name in groups:
            raise ValueError(f"the name {name!r} stands twice: put its runs together, as in {name}=runs/a,runs/b")
        groups[name] = folders
    if not groups:
        raise ValueError("no run: expected NAME=RUN,RUN, as in ppo=runs/a,runs/b")
    return groups
