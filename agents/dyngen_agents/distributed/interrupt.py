"""Ctrl-C as a request: the first one asks a run to stop at a good place, the second one aborts."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """Leaves a rollout in the middle; nothing that a checkpoint holds has changed in it."""


class StopRequest:
    """Within `with StopRequest() as stop:` the first SIGINT or SIGTERM sets `stop.signal`, and the next acts as usual.

    Only the main thread may handle signals: in another one this does nothing.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._requested) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _requested(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        self.signal = signal.Signals(number)
        log.warning("%s: saving the run, then stopping (once more aborts)", self.signal.name)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
