"""Forgetting a person: their words leave the file, its free pages and its log; what they were used for is named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from dyngen_agents.feedback.store.queue import reopen
from dyngen_agents.feedback.store.records import Person


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was removed with a person.

    Attributes:
        dialogues, turns: theirs, with all that models have answered.
        feedback: what they said, and what others said about their dialogues.
        runs: which learned from that feedback. They still know it: train them anew without it, or delete them.
        purged: whether nothing is left in the file's log, either. False while another process reads the file.
    """

    dialogues: int
    turns: int
    feedback: int
    runs: tuple[str, ...]
    purged: bool = True


def forget(database: sqlite3.Connection, person: Person, now: float) -> Forgotten:
    """Delete all that belongs to a person, within a transaction of the caller, who purges the file afterwards.

    Their feedback goes, and so do their dialogues, and those whose settings name them among the "people" who speak in
    it, with all that others have said about these. Tasks that they have answered wait for somebody else again. What
    remains is a line of counts and runs, without who it was.
    """
    talks = _ids(
        database,
        "SELECT id FROM dialogues WHERE person = ?1"
        " OR EXISTS (SELECT 1 FROM json_each(settings, '$.people') WHERE value = ?2)",
        person.id,
        person.name,
    )
    turns = _ids(database, "SELECT id FROM turns WHERE dialogue IN (SELECT value FROM json_each(?))", talks)
    said = _ids(
        database,
        "SELECT id FROM feedback WHERE person = ? OR id IN (SELECT feedback FROM feedback_turns"
        " WHERE turn IN (SELECT value FROM json_each(?)))",
        person.id,
        turns,
    )
    tasks = _ids(database, "SELECT task FROM task_turns WHERE turn IN (SELECT value FROM json_each(?))", turns)
    runs = _ids(database, "SELECT DISTINCT run FROM used WHERE feedback IN (SELECT value FROM json_each(?))", said)
    dialogues, lines, pieces = (len(json.loads(ids)) for ids in (talks, turns, said))
    gone = Forgotten(dialogues, lines, pieces, tuple(sorted(json.loads(runs))))
    database.execute("INSERT INTO forgetting VALUES (1)")
    database.execute("DELETE FROM leases WHERE person = ?", [person.id])
    for table, column, ids in (
        ("leases", "task", tasks),
        ("used", "feedback", said),
        ("feedback_turns", "feedback", said),
        ("feedback", "id", said),
        ("task_turns", "task", tasks),
        ("tasks", "id", tasks),
        ("turns", "id", turns),
        ("dialogues", "id", talks),
    ):
        database.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))", [ids])
    database.execute("DELETE FROM people WHERE id = ?", [person.id])
    database.execute("DELETE FROM forgetting")
    reopen(database)
    database.execute(
        "INSERT INTO forgotten (dialogues, turns, feedback, runs, created) VALUES (?, ?, ?, ?, ?)",
        [gone.dialogues, gone.turns, gone.feedback, json.dumps(gone.runs), now],
    )
    return gone


def forgotten(database: sqlite3.Connection) -> list[Forgotten]:
    """All that was ever removed, in order."""
    found = database.execute("SELECT dialogues, turns, feedback, runs FROM forgotten ORDER BY id")
    return [
        Forgotten(dialogues, turns, feedback, tuple(json.loads(runs))) for dialogues, turns, feedback, runs in found
    ]


def missing(database: sqlite3.Connection, feedback: Sequence[int]) -> set[int]:
    """Those of these ids of feedback that are not there."""
    absent = "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT id FROM feedback)"
    return {row[0] for row in database.execute(absent, [json.dumps(feedback)])}


def _ids(database: sqlite3.Connection, select: str, *values: object) -> str:
    """The only column of a selection, as JSON."""
    return json.dumps([row[0] for row in database.execute(select, values)])
