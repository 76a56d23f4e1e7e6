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
    """A run as an experiment tracker knows it.

    Args:
        name: of the tracker.
        run: the run's folder, whose name the tracker shows. A resumed run goes on under the same name.
        settings: of the run; nested dictionaries of what JSON can hold.
    """

    def __init__(self, name: TrackerName, run: Path, settings: dict[str, Any]):
        identity = {"id": run.name} if name == "wandb" else {}  # Trackio knows a run by its name
        project = os.environ.get(f"{name.upper()}_PROJECT", PROJECT)
        self._run = _package(name).init(project=project, name=run.name, config=settings, resume="allow", **identity)

    def write(self, update: int, numbers: dict[str, float]) -> None:
        """Log one update: numbers by name."""
        self._run.log(numbers, step=update)

    def flush(self) -> None:
        """The tracker sends what it has by itself."""

    def close(self) -> None:
        """Send the rest and part."""
        self._run.finish()


def _package(name: TrackerName) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"track={name!r} needs the package {name}: pip install {name}") from error
