"""The tables of the store as SQL, and how a file of an older version becomes one of this version.

SQLite keeps the version in the file's head (`PRAGMA user_version`), beside `application_id`, by which a store is told
from any other SQLite file. A migration is a tuple of statements that takes a file from one version to the next; all
that are missing run in one transaction. A published migration is never changed: a new one is added after it.
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x64796E67  # "dyng"

_FIRST = (
    "CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created REAL NOT NULL)",
    """CREATE TABLE models (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, fingerprint TEXT NOT NULL, version TEXT NOT NULL,
        UNIQUE (name, fingerprint, version))""",
    """CREATE TABLE dialogues (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, person INTEGER REFERENCES people,
        model INTEGER REFERENCES models, settings TEXT NOT NULL, opening TEXT NOT NULL, created REAL NOT NULL)""",
    "CREATE INDEX dialogues_of_person ON dialogues (person)",
    # Lists of numbers are JSON: exact, and readable in any SQLite shell.
    """CREATE TABLE turns (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, dialogue INTEGER NOT NULL REFERENCES dialogues,
        role TEXT NOT NULL CHECK (role IN ('agent', 'user')), text TEXT NOT NULL, tokens TEXT, logprobs TEXT,
        context TEXT, sampling TEXT NOT NULL, model INTEGER REFERENCES models, parent INTEGER REFERENCES turns,
        replaces INTEGER REFERENCES turns, created REAL NOT NULL)""",
    "CREATE INDEX turns_of_dialogue ON turns (dialogue)",
    "CREATE INDEX turns_after ON turns (parent)",
    "CREATE INDEX turns_revised ON turns (replaces)",
    """CREATE TABLE feedback (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, kind TEXT NOT NULL,
        person INTEGER NOT NULL REFERENCES people, value TEXT NOT NULL, extra TEXT NOT NULL, created REAL NOT NULL,
        UNIQUE (person, key))""",
    """CREATE TABLE feedback_turns (
        feedback INTEGER NOT NULL REFERENCES feedback, place INTEGER NOT NULL, turn INTEGER NOT NULL REFERENCES turns,
        PRIMARY KEY (feedback, place)) WITHOUT ROWID""",
    "CREATE INDEX feedback_about ON feedback_turns (turn)",
    # `content` is a hash of all that a rater sees, so that the same texts are one task; `open` says that raters lack.
    """CREATE TABLE tasks (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, content TEXT NOT NULL UNIQUE,
        raters INTEGER NOT NULL, priority REAL NOT NULL, source TEXT NOT NULL, open INTEGER NOT NULL,
        created REAL NOT NULL)""",
    "CREATE INDEX tasks_in_order ON tasks (open, priority DESC, id)",
    """CREATE TABLE task_turns (
        task INTEGER NOT NULL REFERENCES tasks, place INTEGER NOT NULL, turn INTEGER NOT NULL REFERENCES turns,
        PRIMARY KEY (task, place)) WITHOUT ROWID""",
    "CREATE INDEX tasks_about ON task_turns (turn)",
    """CREATE TABLE leases (
        id INTEGER PRIMARY KEY AUTOINCREMENT, task INTEGER NOT NULL REFERENCES tasks,
        person INTEGER NOT NULL REFERENCES people, granted REAL NOT NULL, expires REAL NOT NULL,
        skipped INTEGER NOT NULL DEFAULT 0, feedback INTEGER REFERENCES feedback, UNIQUE (task, person))""",
    "CREATE INDEX leases_of_person ON leases (person)",
    "CREATE INDEX leases_answered ON leases (feedback)",
    """CREATE TABLE used (
        run TEXT NOT NULL, feedback INTEGER NOT NULL REFERENCES feedback, PRIMARY KEY (feedback, run)) WITHOUT ROWID""",
    # What was forgotten, without who it was: runs that had learned from it can still be found.
    """CREATE TABLE forgotten (
        id INTEGER PRIMARY KEY, dialogues INTEGER NOT NULL, turns INTEGER NOT NULL, feedback INTEGER NOT NULL,
        runs TEXT NOT NULL, created REAL NOT NULL)""",
    # Append-only by the database itself; `forget` alone lifts it, for its own transaction.
    "CREATE TABLE forgetting (now INTEGER PRIMARY KEY)",
    *(
        f"""CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table}
        WHEN NOT EXISTS (SELECT 1 FROM forgetting) BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"""
        for table in ("dialogues", "turns", "feedback", "feedback_turns")
        for verb in ("UPDATE", "DELETE")
    ),
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)


def migrate(database: sqlite3.Connection, path: str) -> None:
    """Bring the file to this version, all at once or not at all.

    Raises:
        ValueError: it is a SQLite file of something else, or was written by a newer dyngen. sqlite3.Error.
    """
    if _version(database, path) == len(MIGRATIONS):
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        for statements in MIGRATIONS[_version(database, path) :]:  # again: somebody may have done it meanwhile
            for statement in statements:
                database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def require_current(database: sqlite3.Connection, path: str) -> None:
    """Raises ValueError unless the file is a store of this version, which is all that can be read without writing."""
    version = _version(database, path)
    if version < len(MIGRATIONS):
        raise ValueError(
            f"{path} is a store of version {version} and cannot be written: this dyngen reads version "
            f"{len(MIGRATIONS)}; make the file and its folder writable once, so that it can be brought up to date"
        )


def _version(database: sqlite3.Connection, path: str) -> int:
    """The version of a store; 0 for a file with nothing in it."""
    begun = database.in_transaction
    if not begun:
        database.execute(
            "BEGIN"
        )  # all that is read is of one moment, though another process may make the store just now
    try:
        application, version = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        [tables] = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        if not begun:
            database.execute("ROLLBACK")
    if application != APPLICATION_ID:
        if application or version or tables:
            raise ValueError(f"{path} is a SQLite file of something else, not a feedback store: name another file")
        return 0
    if version > len(MIGRATIONS):
        raise ValueError(
            f"{path} is a store of version {version}, this dyngen knows versions up to {len(MIGRATIONS)}: "
            "upgrade dyngen-env, or name another file"
        )
    return version
