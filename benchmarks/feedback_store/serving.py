"""The server as a subprocess, a client that does not give up, and a store to rate in."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dyngen_agents.feedback.store import FeedbackStore, Turn

PATIENCE = 900.0  # seconds for which a client tries


class Server:
    """A supervisor and the server that it keeps alive.

    Args:
        path: of the store. prefix: a command before it, such as strace. options: of `benchmarks.feedback_store.server`.
    """

    def __init__(self, path: Path, prefix: tuple[str, ...] = (), options: tuple[str, ...] = ()):
        command = [*prefix, sys.executable, "-m", "benchmarks.feedback_store.server", str(path), *options]
        self.supervisor = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.supervisor.stdout is not None
        self.port = int(self.supervisor.stdout.readline())
        self.started = [int(self.supervisor.stdout.readline())]
        threading.Thread(target=self._read, daemon=True).start()

    def kill(self) -> None:
        """End the server by SIGKILL; the supervisor starts it again."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.started[-1], signal.SIGKILL)

    def close(self) -> None:
        """End both."""
        assert self.supervisor.stdin is not None
        self.supervisor.stdin.close()
        self.supervisor.wait(30)

    def _read(self) -> None:
        assert self.supervisor.stdout is not None
        for line in self.supervisor.stdout:
            self.started.append(int(line))


@contextlib.contextmanager
def serving(path: Path, prefix: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> Iterator[Server]:
    """A server for as long as the block lasts."""
    server = Server(path, prefix, options)
    try:
        yield server
    finally:
        server.close()


class Client:
    """Posts JSON and tries again until it is answered: a key makes a second attempt the first."""

    def __init__(self, port: int):
        self.port, self.attempts = port, 0
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, **asked: Any) -> Any:
        """The answer.

        Raises:
            TimeoutError: nobody has answered in `PATIENCE` seconds. RuntimeError: the answer is an error.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.attempts += 1
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                self._connection.request("POST", path, json.dumps(asked), {"Content-Type": "application/json"})
                response = self._connection.getresponse()
                said = response.read()
            except (OSError, http.client.HTTPException):
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
                time.sleep(0.005)
                continue
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {said.decode()}")
            return json.loads(said)
        raise TimeoutError(f"no answer to {path} in {PATIENCE:g} s")


def store_with_turns(path: Path, count: int) -> list[Turn]:
    """Make a store with so many completions to rate."""
    with FeedbackStore(path) as store, store.at_once():
        return [
            store.add_turn(store.begin_dialogue(None, opening=f"Film {number}"), "agent", " is good", tokens=[1, 2, 3])
            for number in range(count)
        ]


def in_threads(count: int, work: Any) -> None:
    """Call work(0), ..., work(count - 1) at once, and wait; an error of any is raised."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
