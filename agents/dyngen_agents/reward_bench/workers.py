"""Jobs side by side in processes of their own, which stop together when somebody asks them to."""

from __future__ import annotations

import multiprocessing
import os
import signal as signals
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any, TypeVar, cast

from dyngen_agents.distributed.interrupt import StopRequest

Job = TypeVar("Job")
Result = TypeVar("Result")
Work = Callable[[Job, StopRequest, Callable[[], None]], Result]  # (job, when to stop, to be called now and then)

SECONDS_BETWEEN_LOOKS = 0.5


class Workers:
    """`with Workers(count, stop) as workers: for job, result in workers.run(work, jobs)`.

    One worker is this very process. More are spawned, with one thread each (see `dyngen_env.arguments`): a small model
    gains so little from a second thread that two runs side by side end sooner than one after the other.

    Args:
        count: how many jobs at a time. stop: asked for by whoever waits for the results.
        on_ticks: told now and then how often the jobs have ticked since the beginning.
    """

    def __init__(self, count: int, stop: StopRequest, on_ticks: Callable[[int], None]):
        self.count, self.stop, self._on_ticks = count, stop, on_ticks
        self._ticks = 0
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self.count > 1:
            context = multiprocessing.get_context("spawn")
            self._stopping, self._shared_ticks = context.Event(), context.Value("q", 0)
            self._pool = ProcessPoolExecutor(self.count, context, _begin, (self._stopping, self._shared_ticks))
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._stopping.set()  # after an error: the others save what they have
            self._pool.shutdown(cancel_futures=True)

    def run(self, work: Work[Job, Result], jobs: Iterable[Job]) -> Iterator[tuple[Job, Result]]:
        """Each job with its result, in the order in which they end. What has not begun when a stop is asked for is
        left out.

        Args:
            work: a function of a module; it, jobs and results are pickled.

        Raises:
            What a job raises; the others are asked to stop.
        """
        if self._pool is None:
            for job in jobs:
                if self.stop.signal is None:
                    yield job, work(job, ToldToStop(lambda: self.stop.signal is not None), self._tick)
            return
        pending = {self._pool.submit(_work, work, job): job for job in jobs}
        while pending:
            done, _ = wait(pending, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
            if self.stop.signal is not None:
                self._stopping.set()
            self._on_ticks(self._shared_ticks.value)
            for future in done:
                job, (begun, result) = pending.pop(future), future.result()
                if begun:
                    yield job, cast(Result, result)

    def _tick(self) -> None:
        self._ticks += 1
        self._on_ticks(self._ticks)


class ToldToStop(StopRequest):
    """A request that comes from elsewhere and handles no signals itself. asked: whether it has come."""

    def __init__(self, asked: Callable[[], bool]):
        self._asked = asked
        super().__init__()

    @property
    def signal(self) -> signals.Signals | None:  # type: ignore[override]
        """SIGINT once somebody has asked."""
        return signals.SIGINT if self._asked() else None

    @signal.setter
    def signal(self, value: signals.Signals | None) -> None:
        pass  # the base class would say that nobody has asked yet

    def __enter__(self) -> ToldToStop:
        return self


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---------------------------------------------------------------- in a worker process

_shared: tuple[Any, Any]  # the event that says stop, the count of ticks


def _begin(stopping: Any, ticks: Any) -> None:
    """Set up a worker, which leaves Ctrl-C to its parent and does not outlive it."""
    global _shared
    _shared = stopping, ticks
    signals.signal(signals.SIGINT, signals.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _work(work: Work[Job, Result], job: Job) -> tuple[bool, Result | None]:
    """Whether the job was begun, and its result."""
    stopping, _ = _shared
    return (False, None) if stopping.is_set() else (True, work(job, ToldToStop(stopping.is_set), _tick))


def _tick() -> None:
    _, ticks = _shared
    with ticks.get_lock():
        ticks.value += 1
