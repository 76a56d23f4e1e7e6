"""How a bench shows that it lives: a bar over all updates on a terminal; elsewhere its log lines do."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dyngen_agents.training.progress import console, time_left


class BenchProgress:
    """The bar of a bench, over the updates of all its runs. A context manager; without a terminal it shows nothing."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("updates"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("updates", total=None, left="")
        self._earlier, self._total, self._done = 0, 0, 0
        self._began = time.monotonic()

    def __enter__(self) -> BenchProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, done: int, total: int) -> None:
        """Tell that there are `total` updates to do, `done` of which an earlier bench has done."""
        self._earlier, self._total, self._began = done, total, time.monotonic()
        self.ticks(0)

    def ticks(self, count: int) -> None:
        """Tell that `count` updates have been done since `begin`."""
        self._done = count
        left = time_left(self.seconds_left()) if count else ""
        self._bar.update(self._task, completed=self._earlier + count, total=self._total, left=left)

    def seconds_left(self) -> float:
        """The time that the bench still takes at the pace so far; 0 before the first update."""
        passed = time.monotonic() - self._began
        return passed / self._done * (self._total - self._earlier - self._done) if self._done else 0.0
