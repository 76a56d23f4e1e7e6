"""Experiment trackers beside TensorBoard: Weights & Biases and Trackio, which take the same calls."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, Literal

TrackerName = Literal["wandb", "trackio"]

PROJECT = "dyngen"  # unless the tracker's own variable, such as WANDB_PROJECT, names another


def check_tracker(name: TrackerName | None) -> None:
    """Raises ImportError if the tracker's package is not installed: better before the run than after its first hour."""
    if name is not None:
        _package(name)


class Tracker:
    """The numbers of a run, sent to an experiment tracker.

    Args:
        name: of the tracker.
        run: the run's folder, whose name the tracker shows. A resumed run goes on under the same name.
        settings: of the run; nested dictionaries of what JSON can hold.
    """

    def __init__(self, name: TrackerName, run: Path, settings: dict[str, Any]):
        # Trackio knows a run by its name; wandb wants an id, and would write into the working directory.
        identity = {"id": run.name, "dir": str(run)} if name == "wandb" else {}
        project = os.environ.get(f"{name.upper()}_PROJECT", PROJECT)
        self._run = _package(name).init(project=project, name=run.name, config=settings, resume="allow", **identity)

    def write(self, update: int, numbers: dict[str, float]) -> None:
        """Send the numbers of one update, by name."""
        self._run.log(numbers, step=update)

    def flush(self) -> None:
        """Does nothing: trackers send what they have by themselves."""

    def close(self) -> None:
        """Send the rest and end the tracker's run."""
        self._run.finish()


def _package(name: TrackerName) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"track={name!r} needs the package {name}: pip install {name}") from error
