"""One SQLite file as several threads and processes may use it: transactions that are on disk when they return.

The journal is a write-ahead log with `synchronous=FULL`: SQLite calls fsync on the log before a COMMIT returns
(https://sqlite.org/pragma.html#pragma_synchronous). So what was acknowledged survives the death of the process and, as
far as the disk tells the truth, of the machine. A write-ahead log needs a local file system.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from dyngen_agents.feedback.store.schema import migrate, require_current

WAIT = 30.0  # seconds for another process's transaction


class StoreError(OSError):
    """The file cannot be read or written: a full disk, no permission, damage. Nothing of the call was stored."""


class StoreConnection:
    """A connection that threads share, one at a time. A forked child opens its own; pickled, it travels as its path.

    Args:
        path: of the file. create: make it if there is none; an empty file is none.

    Raises:
        FileNotFoundError: there is none, and `create` is False. ValueError: the file is no store, or a newer one's.
        StoreError: it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], create: bool = True):
        self.path = Path(path).expanduser().absolute()
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder, expected the file of a feedback store")
        if not create and not self.path.exists():
            raise FileNotFoundError(f"no feedback store {self.path}: `dyngen serve --store {path}` makes one")
        if not create and not self.path.stat().st_size:
            raise ValueError(f"{self.path} is empty, no feedback store: `dyngen serve --store {path}` makes it one")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"{self.path.parent} is no folder: make it, or name another place for the store")
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._database = self._open(create)

    def __reduce__(self) -> tuple[type[StoreConnection], tuple[Path, bool]]:
        return StoreConnection, (self.path, False)

    @property
    def read_only(self) -> bool:
        """Whether the file or its folder may not be written."""
        return self.path.exists() and not (os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK))

    def close(self) -> None:
        """Close the file. The last one that closes it also empties the log."""
        with self._lock:
            self._database.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: when the block ends, all of it is on disk; if it raises, nothing of it is.

        One within another of the same thread is part of that.

        Raises:
            StoreError: the disk is full, the file is damaged, read-only or held by another process for too long.
        """
        with self._transaction("BEGIN IMMEDIATE") as database:
            yield database

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A view of the file as it is at one moment. Raises StoreError as `writing`."""
        with self._transaction("BEGIN") as database:
            yield database

    def purge(self) -> bool:
        """Rewrite the file without anything that was deleted, and empty the log.

        Returns:
            whether the log is empty: False while another process reads the file.

        Raises:
            StoreError: as `writing`.
        """
        with self._lock, self._plain_errors():
            self._database.execute("VACUUM")
            busy, *_ = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process:  # forked: the lock and the connection are the parent's
            self._lock, self._process = threading.RLock(), os.getpid()
            self._parents = self._database  # closing it here would drop the parent's locks
            self._database = self._open(create=False)
        with self._lock, self._plain_errors():
            if self._database.in_transaction:  # of this thread, for it has the lock: part of that one
                yield self._database
                return
            self._database.execute(begin)
            try:
                yield self._database
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def _open(self, create: bool) -> sqlite3.Connection:
        with self._plain_errors():
            read_only = self.read_only
            has_log = self.path.with_name(self.path.name + "-wal").exists()  # without it nobody writes
            mode = ("mode=ro" if has_log else "immutable=1") if read_only else f"mode={'rwc' if create else 'rw'}"
            name = f"file:{quote(os.fsencode(self.path))}?{mode}"
            database = sqlite3.connect(name, WAIT, isolation_level=None, check_same_thread=False, uri=True)
            try:
                (require_current if read_only else _prepare)(database, str(self.path))
                database.execute("PRAGMA foreign_keys = ON")
                database.execute("PRAGMA secure_delete = ON")  # deleted text is overwritten by zeros
                database.execute("PRAGMA temp_store = MEMORY")  # no text goes to another folder
            except BaseException:
                database.close()
                raise
            return database

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _plain(error, self.path) from error


def _prepare(database: sqlite3.Connection, path: str) -> None:
    """Migrate, and set how commits reach the disk."""
    migrate(database, path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")


# By SQLite's primary result code: what is wrong, and what to do.
_MEANING = {
    sqlite3.SQLITE_BUSY: f"another process has held it for {WAIT:g} s: stop that one, or try again",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check that the folder exists and may be written",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: put back a copy, or save what is whole by `sqlite3 FILE .recover`",
    sqlite3.SQLITE_FULL: "the disk is full: nothing of this was stored, all earlier is; free space, then try again",
    sqlite3.SQLITE_IOERR: "the disk fails: nothing of this was stored; look at the disk, then try again",
    sqlite3.SQLITE_READONLY: "it may not be written: change the permissions of the file and its folder",
    sqlite3.SQLITE_TOOBIG: "a text is larger than SQLite can hold (1 GB): nothing of this was stored",
}


def _plain(error: sqlite3.Error, path: Path) -> Exception:
    """The error in words for people who do not know SQLite."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return ValueError(f"{path} is no feedback store: name the file that `dyngen serve --store` wrote")
    return StoreError(f"{path}: {_MEANING.get(code, error)}")
