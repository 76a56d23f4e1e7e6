"""Stopping by Ctrl-C: the first one asks a run to stop where nothing is lost, the second one aborts it."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Any

from dyngen_env.scoring.people import interrupted_by

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """Raised in the middle of a rollout to leave it. Nothing that a checkpoint holds has changed by then."""


class StopRequest:
    """Catches the first SIGINT (Ctrl-C) or SIGTERM within its `with` block, so that a run can save before it stops.

        with StopRequest() as stop:
            while stop.signal is None:
                ...  # one more update

    The first signal only sets `stop.signal`, and raises `Stopped` in an env that waits for people; a second one does
    what it usually does. Python handles signals in the main thread alone: in another thread the block catches nothing.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._block = ExitStack()

    def __enter__(self) -> StopRequest:
        self._block.enter_context(interrupted_by(self._stop_waiting))
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._requested) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._block.close()
        self._restore()

    def _stop_waiting(self) -> None:
        if self.signal is not None:
            raise Stopped

    def _requested(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        self.signal = signal.Signals(number)
        log.warning("%s: saving the run, then stopping (once more aborts)", self.signal.name)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
