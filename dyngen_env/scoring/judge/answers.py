"""A judge's answers on disk, so that nothing is asked twice: not by the next update, nor by the next run."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds that a process waits for another one that is writing


def key_of(request: Mapping[str, Any]) -> str:
    """The key of a request: a hash of everything in it, such as the model's name, the rubric and the texts."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


class Answers:
    """A table of answers in an SQLite file, which several processes may share.

    Raises:
        sqlite3.Error: at each call, if the file is none of SQLite's, or cannot be written. `OSError` if its folder
            cannot be made.
    """

    def __init__(self, file: Path):
        self.file = file

    def known(self, keys: Iterable[str]) -> dict[str, str]:
        """The answers that are there, by key."""
        with closing(self._open()) as table:
            found = (table.execute("SELECT key, answer FROM answers WHERE key = ?", (key,)).fetchone() for key in keys)
            return dict(row for row in found if row is not None)

    def keep(self, answers: Mapping[str, str]) -> None:
        """Add answers by key."""
        with closing(self._open()) as table, table:
            table.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", answers.items())

    def _open(self) -> sqlite3.Connection:
        # One connection a call: connections must not travel between threads, nor into forked workers.
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.file, timeout=PATIENCE)
        connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        return connection
