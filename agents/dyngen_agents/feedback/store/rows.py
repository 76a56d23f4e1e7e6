"""From rows of the tables to records: the only place that knows in which columns things are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from dyngen_agents.feedback.store.records import Dialogue, ModelStamp, NotInStore, Person, StoredFeedback, Turn

Reference = int | Any  # an id, or a record that has one

_DIALOGUE = """SELECT d.id, d.key, p.id, p.name, p.created, m.name, m.fingerprint, m.version,
    d.settings, d.opening, d.created
    FROM dialogues d LEFT JOIN people p ON p.id = d.person LEFT JOIN models m ON m.id = d.model"""
_TURN = """SELECT t.id, t.key, t.dialogue, t.role, t.text, t.tokens, t.logprobs, t.context, t.sampling,
    m.name, m.fingerprint, m.version, t.parent, t.replaces, t.created
    FROM turns t LEFT JOIN models m ON m.id = t.model"""
_FEEDBACK = """SELECT f.id, f.key, f.kind, p.id, p.name, p.created,
    (SELECT json_group_array(turn) FROM (SELECT turn FROM feedback_turns WHERE feedback = f.id ORDER BY place)),
    f.value, f.extra, f.created
    FROM feedback f JOIN people p ON p.id = f.person"""
_PERSON = "SELECT id, name, created FROM people"
# A condition on feedback, with a role: it is about turns of that role alone.
OF_ROLE = """NOT EXISTS (SELECT 1 FROM feedback_turns ft JOIN turns t ON t.id = ft.turn
    WHERE ft.feedback = f.id AND t.role <> ?)"""


def people(database: sqlite3.Connection, where: str = "", values: Sequence[Any] = ()) -> list[Person]:
    """People, in the order in which they came.

    Args:
        where: a condition in SQL. values: of its question marks. So for the other kinds of records.
    """
    return [Person(*row) for row in _select(database, _PERSON, where, values, "id")]


def dialogues(database: sqlite3.Connection, where: str = "", values: Sequence[Any] = ()) -> list[Dialogue]:
    """Dialogues, in the order in which they began."""
    return [
        Dialogue(number, key, _person(row[:3]), _stamp(row[3:6]), json.loads(row[6]), *row[7:])
        for number, key, *row in _select(database, _DIALOGUE, where, values, "d.id")
    ]


def turns(database: sqlite3.Connection, where: str = "", values: Sequence[Any] = ()) -> list[Turn]:
    """Turns, in the order in which they were added."""
    return [_turn(*row) for row in _select(database, _TURN, where, values, "t.id")]


def history(database: sqlite3.Connection, turn: int) -> list[Turn]:
    """The turns that lead to a turn, from the first of the dialogue to its parent. Raises NotInStore."""
    first = the(turns(database, "t.id = ?", [turn]), "turn", turn)
    upwards = """t.id IN (WITH RECURSIVE up (id) AS (
        SELECT ? UNION ALL SELECT t.parent FROM turns t JOIN up ON t.id = up.id WHERE t.parent IS NOT NULL)
        SELECT id FROM up)"""
    return [] if first.parent is None else turns(database, upwards, [first.parent])  # parents have lower ids


def feedback(database: sqlite3.Connection, where: str = "", values: Sequence[Any] = ()) -> list[StoredFeedback]:
    """Feedback, in the order in which it was given."""
    return [_feedback(*row) for row in _select(database, _FEEDBACK, where, values, "f.id")]


def the(records: Sequence[Any], what: str, reference: Reference) -> Any:
    """The only one of `records`. Raises NotInStore if there is none."""
    if not records:
        raise NotInStore(f"there is no {what} {id_of(reference)} in this store")
    return records[0]


def id_of(reference: Reference) -> int:
    """The id of a record, or the id itself.

    Raises:
        NotInStore: it can be no id.
    """
    number = getattr(reference, "id", reference)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 2**63:
        raise NotInStore(f"{str(number)[:40]!r} is no id of this store: expected a whole number from 1 on")
    return number


def several(references: Reference | Sequence[Reference]) -> Sequence[Reference]:
    """One or more references as a list."""
    return references if isinstance(references, list | tuple) else [references]


def marks(values: Iterable[Any]) -> str:
    """(?, ?, ?) for as many values."""
    return f"({', '.join('?' for _ in values)})"


def _select(database: sqlite3.Connection, columns: str, where: str, values: Sequence[Any], order: str) -> list[Any]:
    return database.execute(f"{columns} {'WHERE ' if where else ''}{where} ORDER BY {order}", values).fetchall()


def _turn(number, key, dialogue, role, text, tokens, logprobs, context, sampling, *rest) -> Turn:
    *stamp, parent, replaces, created = rest
    lists = [None if numbers is None else tuple(json.loads(numbers)) for numbers in (tokens, logprobs, context)]
    return Turn(
        number, key, dialogue, role, text, lists[0], lists[1], lists[2], json.loads(sampling), _stamp(stamp),
        parent, replaces, created,
    )  # fmt: skip


def _feedback(number, key, kind, person, name, came, turns, value, extra, created) -> StoredFeedback:
    about, who = tuple(json.loads(turns)), Person(person, name, came)
    return StoredFeedback(number, key, kind, who, about, json.loads(value), json.loads(extra), created)


def _person(row: Sequence[Any]) -> Person | None:
    return None if row[0] is None else Person(*row)


def _stamp(row: Sequence[Any]) -> ModelStamp | None:
    return None if row[0] is None else ModelStamp(*row)
