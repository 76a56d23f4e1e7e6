"""Checks and insertions that the store's methods share; each works inside the caller's transaction."""

from __future__ import annotations

import json
import math
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from dyngen_agents.feedback.store import rows
from dyngen_agents.feedback.store.records import Dialogue, ModelStamp, NotInStore, Person, StoredFeedback, Turn
from dyngen_agents.feedback.store.rows import Reference, id_of, the
from dyngen_agents.feedback.store.values import as_json, checked_value, well_formed

LONGEST_KEY = 200  # characters
LONGEST_NAME = 100  # of a pseudonym


def checked_name(name: str) -> str:
    """The name of a person. Raises ValueError if it is empty, too long or has characters that cannot be seen."""
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(
            f"a person's name is {str(name)[:40]!r}, expected 1 to {LONGEST_NAME} characters that can be seen"
        )
    return name.strip()


def known_person(database: sqlite3.Connection, person: Reference) -> Person:
    """The person as the store knows them. Raises NotInStore."""
    return the(rows.people(database, "id = ?", [id_of(person)]), "person", person)


def model_id(database: sqlite3.Connection, stamp: ModelStamp | None) -> int | None:
    """The id of a model's stamp, which is stored once."""
    if stamp is None:
        return None
    values = [well_formed(x, "a model's stamp") for x in (stamp.name, stamp.fingerprint, stamp.version)]
    database.execute("INSERT OR IGNORE INTO models (name, fingerprint, version) VALUES (?, ?, ?)", values)
    found = database.execute("SELECT id FROM models WHERE name = ? AND fingerprint = ? AND version = ?", values)
    return found.fetchone()[0]


def place_of(
    database: sqlite3.Connection,
    talk: Dialogue,
    after: Reference | None,
    beside: Reference | None,
    replaces: Reference | None,
) -> tuple[int | None, int | None]:
    """Parent and draft of a new turn, as ids.

    Raises:
        NotInStore: no such turn. ValueError: a turn of another dialogue.
    """
    if after is beside is replaces is None:
        last = database.execute("SELECT max(id) FROM turns WHERE dialogue = ?", [talk.id]).fetchone()
        return last[0], None
    [reference] = [other for other in (after, beside, replaces) if other is not None]
    other: Turn = the(rows.turns(database, "t.id = ?", [id_of(reference)]), "turn", reference)
    if other.dialogue != talk.id:
        raise ValueError(f"turn {other.id} belongs to dialogue {other.dialogue}, the new one to dialogue {talk.id}")
    return (other.id if after is not None else other.parent), (other.id if replaces is not None else None)


def insert_feedback(
    database: sqlite3.Connection,
    kind: str,
    person: Person,
    turns: Sequence[Reference],
    value: Any,
    key: str,
    extra: str,
    created: float,
) -> StoredFeedback:
    """Add feedback, or find it by its key. Arguments and errors as `FeedbackStore.add_feedback`; `extra` is JSON."""
    ids = [id_of(turn) for turn in turns]
    found = {turn.id: turn.text for turn in rows.turns(database, f"t.id IN {rows.marks(ids)}", ids)}
    for number in ids:
        if number not in found:
            raise NotInStore(f"there is no turn {number} in this store")
    if len(found) < len(ids):
        raise ValueError(f"{kind} of turns {ids}: expected different ones")
    said = checked_value(kind, [found[number] for number in ids], value)
    if known := rows.feedback(database, "f.person = ? AND f.key = ?", [person.id, key]):
        if (known[0].kind, list(known[0].turns), known[0].value) != (kind, ids, said):
            raise ValueError(f"{person.name} has used the key {key!r} for other feedback: give each its own key")
        return known[0]
    values = [key, kind, person.id, as_json(said, "value"), extra, created]
    cursor = database.execute(
        "INSERT INTO feedback (key, kind, person, value, extra, created) VALUES (?, ?, ?, ?, ?, ?)", values
    )
    places = [(cursor.lastrowid, place, number) for place, number in enumerate(ids)]
    database.executemany("INSERT INTO feedback_turns (feedback, place, turn) VALUES (?, ?, ?)", places)
    return rows.feedback(database, "f.id = ?", [cursor.lastrowid])[0]


def checked_key(key: str | None) -> str:
    """The key, or a new random one for None. Raises ValueError."""
    if key is None:
        return uuid.uuid4().hex
    if not isinstance(key, str) or not key or len(key) > LONGEST_KEY or not key.isprintable():
        raise ValueError(f"key is {str(key)[:40]!r}, expected 1 to {LONGEST_KEY} printable characters, such as a UUID")
    return key


def json_object(value: dict[str, Any] | None, what: str) -> str:
    """A JSON object as text; None is the empty one. Raises ValueError."""
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{what} is {str(value)[:40]!r}, expected a JSON object")
    return as_json(value or {}, what)


def id_list(tokens: Iterable[int] | None, what: str) -> list[int] | None:
    """Token ids as plain integers. Raises ValueError."""
    if tokens is None:
        return None
    try:
        ids = [number.__index__() for number in tokens]  # NumPy's integers, too
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{what} are to be whole numbers: {error}") from error
    if any(not 0 <= number < 2**31 for number in ids):
        raise ValueError(f"{what} are to be ids from 0 on, they go from {min(ids)} to {max(ids)}")
    return ids


def logprob_list(logprobs: Iterable[float] | None, tokens: Sequence[int] | None) -> list[float] | None:
    """Log-probs as plain floats. Raises ValueError if they are not one finite number for each token."""
    if logprobs is None:
        return None
    try:
        numbers = [float(number) for number in logprobs]
    except (TypeError, ValueError) as error:
        raise ValueError(f"logprobs are to be numbers: {error}") from error
    if tokens is None or len(numbers) != len(tokens) or not all(map(math.isfinite, numbers)):
        count = "no" if tokens is None else len(tokens)
        raise ValueError(f"{len(numbers)} logprobs for {count} tokens: expected a finite number for each token")
    return numbers


def as_list(numbers: Sequence[float] | None) -> str | None:
    """Numbers as JSON."""
    return None if numbers is None else json.dumps(numbers)
