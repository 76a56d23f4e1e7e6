"""A run's numbers on disk: `metrics.jsonl`, one object an update. The same goes to TensorBoard and to trackers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from dyngen_agents.runs.folder import RUNS

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"


class Board(Protocol):
    """Something that shows the numbers of a run."""

    def write(self, update: int, numbers: dict[str, float]) -> None:
        """Show the numbers of one update, by name."""

    def flush(self) -> None:
        """Write or send what is buffered."""

    def close(self) -> None:
        """End the log: there will be no more updates."""


class MetricsLog:
    """Appends to the logs of a run, which first go back to the update that the run goes on from.

    Args:
        run: the folder. update: updates that the run has finished; what was logged after them is dropped.
        boards: get the same numbers, beside TensorBoard; closed with the log.
    """

    def __init__(self, run: Path, update: int, *boards: Board):
        path = run / METRICS
        if path.exists():
            _cut_after(path, update)
        self._file = path.open("a", encoding="utf-8")
        self._boards = (_TensorBoard(tensorboard_folder(run), update), *boards)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        for board in self._boards:
            board.close()

    def write(self, metrics: dict[str, Any]) -> None:
        """Log one update. `metrics["update"]` numbers it; values are numbers or, once nested, more of them by name."""
        self._file.write(json.dumps(metrics, allow_nan=False) + "\n")
        self._file.flush()
        for board in self._boards:
            board.write(metrics["update"], dict(_flat(metrics)))

    def sync(self) -> None:
        """Have everything on the disk: a checkpoint that follows is never ahead of its metrics."""
        os.fsync(self._file.fileno())
        for board in self._boards:
            board.flush()


class _TensorBoard:
    def __init__(self, folder: Path, update: int):
        from torch.utils.tensorboard import SummaryWriter  # costs seconds

        self._writer = SummaryWriter(str(folder), purge_step=update + 1 if update else None)

    def write(self, update: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, update)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def tensorboard_folder(run: Path) -> Path:
    """Where TensorBoard finds a run: runs/tensorboard/<name> for one in runs/, else tensorboard/ in its own folder.

    Inside a run in runs/ it would stand twice in `tensorboard --logdir runs`, which also follows the link runs/latest.
    """
    own = run / TENSORBOARD
    in_runs = run.absolute().parent == RUNS.absolute()
    return run.parent / TENSORBOARD / run.name if in_runs and not own.exists() else own


class Unlogged:
    """The log of a process that writes nothing."""

    def __enter__(self) -> Unlogged:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, metrics: dict[str, Any]) -> None:
        pass

    def sync(self) -> None:
        pass


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The logged updates, in order. A last line that was cut short is left out."""
    path = run / METRICS
    return [record for _, record in _records(path.read_bytes())] if path.exists() else []


def _cut_after(path: Path, update: int) -> None:
    data = path.read_bytes()
    end = 0
    for end_of_line, record in _records(data):
        if record["update"] > update:
            break
        end = end_of_line
    os.truncate(path, end)


def _records(data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each whole line's object, and where the line ends."""
    end = 0
    for line in data.splitlines(keepends=True):
        end += len(line)
        if not line.endswith(b"\n"):
            return
        yield end, json.loads(line)


def _flat(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value
