"""The queue of what waits to be rated: k different raters a text, no text twice to one person, leases that expire.

A person who asks for work gets a lease on a task. Until it expires, the place that they take counts as taken. An answer
that comes after that is kept all the same: somebody has worked for it. So a task may end with more answers than it
asked for, never with fewer. The same texts in the same context are one task, whoever enqueues them again.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from dyngen_agents.feedback.store import rows
from dyngen_agents.feedback.store.connection import StoreConnection
from dyngen_agents.feedback.store.inserts import checked_key, insert_feedback, json_object, known_person
from dyngen_agents.feedback.store.records import Lease, NotInStore, Person, StoredFeedback, Task
from dyngen_agents.feedback.store.rows import Reference, id_of, several, the
from dyngen_agents.feedback.store.values import check_turns, well_formed

BACKWARDS = 60.0  # seconds that a clock may go back before the leases from its future count as expired

# Conditions on a row of `leases`; :now is a parameter.
_LIVE = f"(l.feedback IS NULL AND NOT l.skipped AND l.granted <= :now + {BACKWARDS} AND :now < l.expires)"
_TASK = f"""SELECT t.id, t.kind,
    (SELECT json_group_array(turn) FROM (SELECT turn FROM task_turns WHERE task = t.id ORDER BY place)),
    t.raters, t.priority, t.source, t.created,
    (SELECT count(*) FROM leases l WHERE l.task = t.id AND l.feedback IS NOT NULL),
    (SELECT count(*) FROM leases l WHERE l.task = t.id AND {_LIVE})
    FROM tasks t"""
# Tasks that the person :person may get: raters lack, and they have not seen it, nor said the same kind of thing of it.
# The cheapest condition goes first, and CROSS JOIN keeps SQLite from going through all that the person has ever said.
_FOR_PERSON = f"""t.open = 1
    AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.task = t.id AND l.person = :person
        AND (l.feedback IS NOT NULL OR l.skipped))
    AND (SELECT count(*) FROM leases l WHERE l.task = t.id AND (l.feedback IS NOT NULL OR {_LIVE})) < t.raters
    AND NOT EXISTS (SELECT 1 FROM task_turns tt CROSS JOIN feedback_turns ft ON ft.turn = tt.turn
        CROSS JOIN feedback f ON f.id = ft.feedback WHERE tt.task = t.id AND f.person = :person AND f.kind = t.kind)"""
_OPEN = "open = ((SELECT count(*) FROM leases WHERE task = tasks.id AND feedback IS NOT NULL) < raters)"


class TaskQueue:
    """The part of a `FeedbackStore` that hands out tasks.

    Args:
        connection: to the file. clock: seconds since 1970.
    """

    def __init__(self, connection: StoreConnection, clock: Callable[[], float]):
        self.connection = connection
        self.clock = clock

    def enqueue(
        self,
        kind: str,
        turns: Reference | Sequence[Reference],
        raters: int = 1,
        priority: float = 0.0,
        source: str = "",
    ) -> Task:
        """Ask people for feedback of a kind about turns.

        If a task about the same texts in the same context exists, it is returned, with the greater `raters` and
        `priority` of both; perhaps it has been answered already.

        Args:
            kind, turns: see `values`; of a preference and a ranking, in the order in which they are to be shown.
            raters: how many different people are to answer. priority: the highest goes first, of equals the oldest.
            source: who asks, such as a run's folder.

        Raises:
            NotInStore: no such turn. ValueError: no such kind, or turns that do not fit it.
        """
        ids = [id_of(turn) for turn in several(turns)]
        check_turns(kind, len(ids))
        if isinstance(raters, bool) or not isinstance(raters, int) or not 0 < raters < 2**31:
            raise ValueError(f"raters is {str(raters)[:40]}, expected how many different people: at least 1")
        if not isinstance(priority, int | float) or not math.isfinite(priority):
            raise ValueError(f"priority is {str(priority)[:40]}, expected a finite number: the highest goes first")
        if len(set(ids)) < len(ids):
            raise ValueError(f"a task of turns {ids}: expected different ones")
        values = [kind, raters, float(priority), well_formed(source, "source")]
        with self.connection.writing() as database:
            content = _content(database, kind, ids)
            known = database.execute("SELECT id FROM tasks WHERE content = ?", [content]).fetchone()
            if known:
                more = "UPDATE tasks SET raters = max(raters, ?), priority = max(priority, ?) WHERE id = ?"
                database.execute(more, [raters, priority, known[0]])
                database.execute(f"UPDATE tasks SET {_OPEN} WHERE id = ?", known)
                return _task(database, known[0], self.clock())
            new = "INSERT INTO tasks (kind, raters, priority, source, content, created, open) VALUES (?,?,?,?,?,?,1)"
            number = database.execute(new, [*values, content, self.clock()]).lastrowid
            places = [(number, place, turn) for place, turn in enumerate(ids)]
            database.executemany("INSERT INTO task_turns (task, place, turn) VALUES (?, ?, ?)", places)
            return _task(database, number, self.clock())

    def lease(self, person: Person | int, seconds: float = 600.0, kind: str | None = None) -> Lease | None:
        """The next task for a person, theirs for so many seconds; None if nothing waits for them.

        Who asks again before having answered gets the same task again, for as long.

        Args:
            kind: only tasks of this kind of feedback.

        Raises:
            NotInStore: no such person. ValueError: no number of seconds.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
            raise ValueError(f"a lease of {str(seconds)[:40]} seconds: expected a finite number above 0")
        with self.connection.writing() as database:
            who, now = known_person(database, person), self.clock()
            asked = {"now": now, "person": who.id, "kind": kind}
            of_kind = "" if kind is None else "AND t.kind = :kind"
            held = f"l.person = :person AND {_LIVE} {of_kind} ORDER BY l.id LIMIT 1"
            new = f"{_FOR_PERSON} {of_kind} ORDER BY t.priority DESC, t.id LIMIT 1"
            found = (
                database.execute(
                    f"SELECT t.id FROM leases l JOIN tasks t ON t.id = l.task WHERE {held}", asked
                ).fetchone()
                or database.execute(f"SELECT t.id FROM tasks t WHERE {new}", asked).fetchone()
            )
            if found is None:
                return None
            database.execute(
                "INSERT INTO leases (task, person, granted, expires) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (task, person) DO UPDATE SET granted = excluded.granted, expires = excluded.expires",
                [found[0], who.id, now, now + seconds],
            )
            mine = database.execute("SELECT id FROM leases WHERE task = ? AND person = ?", [found[0], who.id])
            return _lease(database, mine.fetchone()[0], now)

    def submit(
        self, lease: Lease | int, value: Any, key: str | None = None, extra: dict[str, Any] | None = None
    ) -> StoredFeedback:
        """Answer the task of a lease, be it in time or late.

        Args:
            value: as in `values`; for a preference the better turn, for a ranking all turns, the best first.
            key, extra: as for `add_feedback`: a second attempt with the same key is the first.

        Raises:
            NotInStore: no such lease. ValueError: a value that does not fit, or it was answered before.
        """
        key, about = checked_key(key), json_object(extra, "extra")
        with self.connection.writing() as database:
            held = _lease(database, lease, self.clock())
            turns, said = _in_order(held.task, value)
            answered = rows.feedback(database, "f.id = (SELECT feedback FROM leases WHERE id = ?)", [held.id])
            if answered and answered[0].key != key:
                raise ValueError(f"{held.person.name} has already answered this: ask for the next task")
            given = insert_feedback(database, held.task.kind, held.person, turns, said, key, about, self.clock())
            database.execute("UPDATE leases SET feedback = ? WHERE id = ?", [given.id, held.id])
            database.execute(f"UPDATE tasks SET {_OPEN} WHERE id = ?", [held.task.id])
            return given

    def skip(self, lease: Lease | int) -> None:
        """Leave the task of a lease to others; this person will not see it again.

        Raises:
            NotInStore: no such lease. ValueError: it has been answered.
        """
        with self.connection.writing() as database:
            held = _lease(database, lease, self.clock())
            done = database.execute("UPDATE leases SET skipped = 1 WHERE id = ? AND feedback IS NULL", [held.id])
            if not done.rowcount:
                raise ValueError(f"{held.person.name} has already answered this: ask for the next task")

    def find_lease(self, lease: Lease | int) -> Lease:
        """The lease of that id, with its task as it is now; it may have expired. Raises NotInStore."""
        with self.connection.reading() as database:
            return _lease(database, lease, self.clock())

    def task(self, task: Reference) -> Task:
        """The task of that id, as it is now. Raises NotInStore."""
        with self.connection.reading() as database:
            return _task(database, task, self.clock())

    def answers(self, task: Reference) -> list[StoredFeedback]:
        """What people have answered to a task, in order."""
        about = "f.id IN (SELECT feedback FROM leases WHERE task = ? AND feedback IS NOT NULL)"
        with self.connection.reading() as database:
            return rows.feedback(database, about, [id_of(task)])

    def waiting(self, person: Person | int | None = None) -> list[Task]:
        """Tasks for which raters lack, the next one first; with `person`, only those that they could get now."""
        with self.connection.reading() as database:
            if person is None:
                return _tasks(database, "t.open = 1", {"now": self.clock()})
            who = known_person(database, person)
            return _tasks(database, _FOR_PERSON, {"now": self.clock(), "person": who.id})

    def count_waiting(self, person: Person | int | None = None) -> int:
        """How many tasks lack raters, or could a person get now: the length of `waiting`, without reading them."""
        with self.connection.reading() as database:
            if person is None:
                return database.execute("SELECT count(*) FROM tasks t WHERE t.open = 1").fetchone()[0]
            asked = {"now": self.clock(), "person": known_person(database, person).id}
            return database.execute(f"SELECT count(*) FROM tasks t WHERE {_FOR_PERSON}", asked).fetchone()[0]


def reopen(database: sqlite3.Connection) -> None:
    """Open every task that lacks answers, after some have been deleted."""
    database.execute(f"UPDATE tasks SET {_OPEN}")


def _task(database: sqlite3.Connection, reference: Reference, now: float) -> Task:
    return the(_tasks(database, "t.id = :task", {"task": id_of(reference), "now": now}), "task", reference)


def _tasks(database: sqlite3.Connection, where: str, values: dict[str, Any]) -> list[Task]:
    found = database.execute(f"{_TASK} WHERE {where} ORDER BY t.priority DESC, t.id", values)
    return [Task(number, kind, tuple(json.loads(turns)), *rest) for number, kind, turns, *rest in found]


def _lease(database: sqlite3.Connection, lease: Reference, now: float) -> Lease:
    found = database.execute("SELECT id, task, person, expires FROM leases WHERE id = ?", [id_of(lease)]).fetchall()
    number, about, person, expires = the(found, "lease", lease)
    return Lease(number, _task(database, about, now), known_person(database, person), expires)


def _content(database: sqlite3.Connection, kind: str, turns: Sequence[int]) -> str:
    """A hash of the kind and of what a rater sees, whatever the order of the texts."""
    seen = []
    for number in turns:
        turn = the(rows.turns(database, "t.id = ?", [number]), "turn", number)
        talk = rows.dialogues(database, "d.id = ?", [turn.dialogue])[0]
        said = [(each.role, each.text) for each in (*rows.history(database, number), turn)]
        seen.append(json.dumps([talk.opening, said]))
    return hashlib.sha256(json.dumps([kind, sorted(seen)]).encode()).hexdigest()


def _in_order(task: Task, value: Any) -> tuple[Sequence[int], Any]:
    """Turns and value as `add_feedback` takes them, from the answer to a task."""
    if task.kind not in ("preference", "ranking"):
        return task.turns, value
    best_first = [value] if task.kind == "preference" else value
    try:
        ids = [id_of(turn) for turn in best_first]
    except (NotInStore, TypeError):
        ids = []
    if task.kind == "preference" and ids:
        ids += [turn for turn in task.turns if turn not in ids]
    if sorted(ids) != sorted(task.turns):
        wanted = "the turn that is better" if task.kind == "preference" else "all turns, the best first"
        raise ValueError(f"the answer is {str(value)[:60]}, expected {wanted}, of {list(task.turns)}")
    return ids, None
