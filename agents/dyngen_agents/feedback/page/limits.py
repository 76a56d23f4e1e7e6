"""How much one person may ask for: a bucket of requests that fills up again with time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

REMEMBERED = 4096  # people, or addresses


class Rate:
    """A token bucket for each key: `burst` requests at once, `per_second` in the long run.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic):
        self.per_second, self.burst, self._clock = per_second, burst, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key: (requests left, at this time)
        self._lock = threading.Lock()

    def wait(self, key: str) -> float:
        """Count a request of `key`: 0 if it may be served, else after how many seconds one may."""
        with self._lock:
            now = self._clock()
            left, then = self._levels.pop(key, (float(self.burst), now))
            left = min(float(self.burst), left + (now - then) * self.per_second)
            allowed = left >= 1
            self._levels[key] = (left - 1 if allowed else left, now)
            while len(self._levels) > REMEMBERED:
                self._levels.popitem(last=False)
            return 0.0 if allowed else (1 - left) / self.per_second
