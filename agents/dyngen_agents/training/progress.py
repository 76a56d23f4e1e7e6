"""How a run shows that it lives: a bar on a terminal; elsewhere, in a notebook or a log file, a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

SECONDS_BETWEEN_LINES = 15.0

console = Console(stderr=True)
"""Where progress and messages go: standard output belongs to answers."""


class TrainingProgress(Protocol):
    """What a training run reports to, as a context manager: a bar, lines of text, or nothing."""

    def __enter__(self) -> TrainingProgress: ...

    def __exit__(self, *_: object) -> None: ...

    def say(self, message: str) -> None:
        """Show a message about the run."""

    def phase(self, name: str) -> None:
        """The run begins something that takes time: "playing", "learning", "sampling"."""

    def tokens(self, count: int) -> None:
        """The policy chose `count` more tokens."""

    def update(self, metrics: dict[str, Any], seconds_left: float) -> None:
        """An update has finished."""


def training_progress(done: int, total: int, shown: bool = True) -> TrainingProgress:
    """Progress on standard error, as a bar on a terminal and as lines elsewhere.

    Args:
        done: updates that the run has finished before. total: all that it shall have.
        shown: False shows nothing.
    """
    if not shown:
        return NoProgress()
    return TerminalBar(done, total) if console.is_terminal else PlainLines(done, total)


class NoProgress:
    """A run that nobody watches: shows nothing."""

    def __enter__(self) -> NoProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, message: str) -> None:
        pass

    def phase(self, name: str) -> None:
        pass

    def tokens(self, count: int) -> None:
        pass

    def update(self, metrics: dict[str, Any], seconds_left: float) -> None:
        pass


class TerminalBar:
    """A bar with the time left, and under it reward, KL per token, entropy and tokens per second."""

    def __init__(self, done: int, total: int):
        self._bar = _TwoLines(
            SpinnerColumn("dots" if console.encoding.startswith("utf") else "line"),
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("starting", total=total, completed=done, left="")
        self._phase, self._tokens = "starting", 0

    def __enter__(self) -> TerminalBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, message: str) -> None:
        _print(message)

    def phase(self, name: str) -> None:
        self._phase, self._tokens = name, 0
        self._bar.update(self._task, description=name)

    def tokens(self, count: int) -> None:
        self._tokens += count
        self._bar.update(self._task, description=f"{self._phase} {self._tokens:,} tokens")

    def update(self, metrics: dict[str, Any], seconds_left: float) -> None:
        self._bar.numbers = summary(metrics)
        self._bar.update(self._task, completed=metrics["update"], left=time_left(seconds_left))


class _TwoLines(Progress):
    """A progress bar with a line of text under it."""

    numbers = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        yield Text("  " + self.numbers, no_wrap=True, overflow="ellipsis")


class PlainLines(NoProgress):
    """The same numbers as lines: the first and the last update, and what goes on every 15 seconds between them."""

    def __init__(self, done: int, total: int):
        self._begun, self._done, self._total = done, done, total
        self._phase, self._tokens, self._last = "", 0, time.monotonic()

    def say(self, message: str) -> None:
        _print(message)

    def phase(self, name: str) -> None:
        self._phase, self._tokens = name, 0

    def tokens(self, count: int) -> None:
        self._tokens += count
        if self._is_time():
            self._line(f"update {self._done + 1}/{self._total}  {self._phase}  {self._tokens:,} tokens")

    def update(self, metrics: dict[str, Any], seconds_left: float) -> None:
        is_first, self._done = self._done == self._begun, metrics["update"]
        if is_first or self._is_time() or self._done == self._total:
            self._line(f"update {self._done}/{self._total}  {summary(metrics)}  {time_left(seconds_left)}")

    def _is_time(self) -> bool:
        return time.monotonic() - self._last > SECONDS_BETWEEN_LINES

    def _line(self, text: str) -> None:
        self._last = time.monotonic()
        _print(text)


def _print(text: str) -> None:
    """One line, however long it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def summary(metrics: dict[str, Any]) -> str:
    """The most important numbers of an update on one line."""
    return (
        f"reward {metrics['reward']:+.3f}  {_kl(metrics)}  entropy {metrics['entropy']:.2f}  "
        f"{metrics['tokens_per_second']:,.0f} tokens/s"
    )


def _kl(metrics: dict[str, Any]) -> str:
    """The distance from the untrained model, per episode where the algorithm tells it: what it paid for its reward."""
    if "kl" in metrics:
        return f"KL {metrics['kl']:.2f} ({metrics['kl_per_token']:.3f} a token)"
    return f"KL/token {metrics['kl_per_token']:.3f}"


def time_left(seconds: float) -> str:
    """A duration such as "1:05 left" or "2:00:10 left"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}") + " left"
