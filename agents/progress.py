"""How a run shows that it lives: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0

console = Console(stderr=True)
"""Where progress and messages go: standard output belongs to answers."""


class TrainingProgress(Protocol):
    """Told what a run does; used as a context."""

    def __enter__(self) -> TrainingProgress: ...

    def __exit__(self, *_: object) -> None: ...

    def phase(self, name: str) -> None:
        """The run begins something: "playing", "learning", ..."""

    def tokens(self, count: int) -> None:
        """The policy chose `count` more tokens."""

    def update(self, metrics: dict[str, Any], seconds_left: float) -> None:
        """An update has finished."""


def training_progress(done: int, total: int) -> TrainingProgress:
    """The progress of `total` updates, `done` of which are there already."""
    return TerminalBar(done, total) if console.is_terminal else LogLines(total)


class TerminalBar:
    """A bar with reward, KL per token, entropy, tokens per second and time left."""

    def __init__(self, done: int, total: int):
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=console,
        )
        self._task = self._bar.add_task("starting", total=total, completed=done, numbers="")
        self._phase, self._tokens = "starting", 0

    def __enter__(self) -> TerminalBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, name: str) -> None:
        self._phase, self._tokens = name, 0
        self._bar.update(self._task, description=name)

    def tokens(self, count: int) -> None:
        self._tokens += count
        self._bar.update(self._task, description=f"{self._phase} {self._tokens:,} tokens")

    def update(self, metrics: dict[str, Any], seconds_left: float) -> None:
        self._bar.update(self._task, completed=metrics["update"], numbers=summary(metrics, seconds_left))


class LogLines:
    """The same numbers as log messages: the first and the last update, and one every 15 seconds."""

    def __init__(self, total: int):
        self._total, self._last = total, 0.0

    def __enter__(self) -> LogLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def phase(self, name: str) -> None:
        pass

    def tokens(self, count: int) -> None:
        pass

    def update(self, metrics: dict[str, Any], seconds_left: float) -> None:
        now = time.monotonic()
        if now - self._last > SECONDS_BETWEEN_LINES or metrics["update"] == self._total:
            self._last = now
            log.info("update %d/%d  %s", metrics["update"], self._total, summary(metrics, seconds_left))


def summary(metrics: dict[str, Any], seconds_left: float) -> str:
    """One line about an update."""
    minutes, seconds = divmod(round(seconds_left), 60)
    return (
        f"reward {metrics['reward']:+.3f}  KL/token {metrics['kl_per_token']:.3f}  entropy {metrics['entropy']:.2f}  "
        f"{metrics['tokens_per_second']:,.0f} tokens/s  {minutes}:{seconds:02d} left"
    )
