"""The store: people, their dialogues turn by turn, what they say about turns, and a queue of turns to be rated."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from dyngen_agents.feedback.store import inserts, rows
from dyngen_agents.feedback.store.connection import StoreConnection
from dyngen_agents.feedback.store.forgetting import Forgotten, forget, forgotten, missing
from dyngen_agents.feedback.store.queue import TaskQueue
from dyngen_agents.feedback.store.records import Dialogue, ModelStamp, NotInStore, Person, StoredFeedback, Turn
from dyngen_agents.feedback.store.rows import Reference, id_of, the
from dyngen_agents.feedback.store.values import well_formed


class FeedbackStore(TaskQueue):
    """One SQLite file of people's feedback, safe in several threads and processes at once.

    What a method that writes returns is on disk. Wherever a record is asked for, its id does as well.

    Args:
        path: of the file. create: make it if there is none.
        clock: seconds since 1970. Order in the store never depends on it: clocks go backwards, ids do not.

    Raises:
        FileNotFoundError: there is none, and `create` is False. ValueError: the file is no store, or a newer one's.
        StoreError: it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], create: bool = True, clock: Callable[[], float] = time.time):
        super().__init__(StoreConnection(path, create), clock)

    def __enter__(self) -> FeedbackStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The file, absolute."""
        return str(self.connection.path)

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def at_once(self) -> AbstractContextManager[object]:
        """`with store.at_once():` makes all calls in the block one transaction: all of it is on disk, or nothing."""
        return self.connection.writing()

    def at_one_moment(self) -> AbstractContextManager[object]:
        """`with store.at_one_moment():` lets all calls in the block, which only read, see the file as it was then."""
        return self.connection.reading()

    # ------------------------------------------------------------ people and dialogues

    def person(self, name: str, created: float | None = None) -> Person:
        """The person of that pseudonym, who is new if nobody has it yet. `created`: now, unless it is known.

        Raises:
            ValueError: a name that is empty, too long or has characters that cannot be seen.
        """
        name = inserts.checked_name(name)
        with self.connection.reading() as database:
            known = rows.people(database, "name = ?", [name])
        if not known:
            with self.connection.writing() as database:
                values = [name, self._when(created)]
                database.execute("INSERT OR IGNORE INTO people (name, created) VALUES (?, ?)", values)
                known = rows.people(database, "name = ?", [name])
        return known[0]

    def people(self, name: str | None = None) -> list[Person]:
        """Everybody, or who has that pseudonym, in the order in which they came."""
        with self.connection.reading() as database:
            return rows.people(database) if name is None else rows.people(database, "name = ?", [name])

    def begin_dialogue(
        self,
        person: Person | None,
        model: ModelStamp | None = None,
        settings: dict[str, Any] | None = None,
        opening: str = "",
        key: str | None = None,
        created: float | None = None,
    ) -> Dialogue:
        """A new dialogue, or the one that has this key.

        Args:
            person: who talks; None for texts that a run has written by itself.
            settings, opening: see `Dialogue`. key: the same in a second attempt. created: now, unless it is known.

        Raises:
            NotInStore: no such person. ValueError: settings that are no JSON object.
        """
        key, opening = inserts.checked_key(key), well_formed(opening, "the opening")
        said = inserts.json_object(settings, "settings")
        with self.connection.writing() as database:
            who = None if person is None else inserts.known_person(database, person)
            if not (known := rows.dialogues(database, "d.key = ?", [key])):
                values = (key, who and who.id, inserts.model_id(database, model), said, opening, self._when(created))
                database.execute(
                    "INSERT INTO dialogues (key, person, model, settings, opening, created) VALUES (?, ?, ?, ?, ?, ?)",
                    values,
                )
                known = rows.dialogues(database, "d.key = ?", [key])
        if (known[0].person, known[0].opening) != (who, opening):
            raise ValueError(f"the key {key!r} is that of another dialogue: give each its own key")
        return known[0]

    def dialogue(self, dialogue: Reference) -> Dialogue:
        """The dialogue of that id. Raises NotInStore."""
        with self.connection.reading() as database:
            return the(rows.dialogues(database, "d.id = ?", [id_of(dialogue)]), "dialogue", dialogue)

    def dialogues(self, person: Person | int | None = None) -> list[Dialogue]:
        """All dialogues, or those of a person, in the order in which they began."""
        with self.connection.reading() as database:
            return rows.dialogues(database) if person is None else rows.dialogues(database, "p.id = ?", [id_of(person)])

    # ------------------------------------------------------------ turns

    def add_turn(
        self,
        dialogue: Reference,
        role: str,
        text: str,
        *,
        tokens: Iterable[int] | None = None,
        logprobs: Iterable[float] | None = None,
        context: Iterable[int] | None = None,
        sampling: dict[str, Any] | None = None,
        model: ModelStamp | None = None,
        after: Reference | None = None,
        beside: Reference | None = None,
        replaces: Reference | None = None,
        key: str | None = None,
        created: float | None = None,
    ) -> Turn:
        """Add a turn to a dialogue; by default after the one that was added last.

        Args:
            role: "agent" or "user". text, tokens, logprobs, context, sampling, model: see `Turn`.
            after: the turn that it follows. beside: another candidate for the same place, whose parent it shares.
            replaces: the draft that it revises, whose parent it shares.
            key: the same in a second attempt, which returns the turn of the first. created: now, unless it is known.

        Raises:
            NotInStore: no such dialogue or turn. ValueError: log-probs that do not fit the tokens, turns of two
                dialogues, more than one of `after`, `beside` and `replaces`.
        """
        key, text = inserts.checked_key(key), well_formed(text, "a turn")
        if role not in ("agent", "user"):
            raise ValueError(f"role is {role!r}, expected 'agent' or 'user'")
        if sum(other is not None for other in (after, beside, replaces)) > 1:
            raise ValueError("a turn can be only one of after=, beside= or replaces= another")
        ids, read = inserts.id_list(tokens, "tokens"), inserts.id_list(context, "context")
        chances = inserts.logprob_list(logprobs, ids)
        lists = [inserts.as_list(numbers) for numbers in (ids, chances, read)]
        said = inserts.json_object(sampling, "sampling")
        with self.connection.writing() as database:
            if not (known := rows.turns(database, "t.key = ?", [key])):
                talk = the(rows.dialogues(database, "d.id = ?", [id_of(dialogue)]), "dialogue", dialogue)
                place = inserts.place_of(database, talk, after, beside, replaces)
                stamp = inserts.model_id(database, model)
                database.execute(
                    "INSERT INTO turns (key, dialogue, role, text, tokens, logprobs, context, sampling, model, parent,"
                    " replaces, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [key, talk.id, role, text, *lists, said, stamp, *place, self._when(created)],
                )
                known = rows.turns(database, "t.key = ?", [key])
        if (known[0].dialogue, known[0].role, known[0].text) != (id_of(dialogue), role, text):
            raise ValueError(f"the key {key!r} is that of another turn: give each its own key")
        return known[0]

    def turn(self, turn: Reference) -> Turn:
        """The turn of that id. Raises NotInStore."""
        with self.connection.reading() as database:
            return the(rows.turns(database, "t.id = ?", [id_of(turn)]), "turn", turn)

    def turns(self, dialogue: Reference) -> list[Turn]:
        """All turns of a dialogue, drafts and candidates included, in the order in which they were added."""
        with self.connection.reading() as database:
            return rows.turns(database, "t.dialogue = ?", [id_of(dialogue)])

    def history(self, turn: Reference) -> list[Turn]:
        """The turns that lead to a turn, from the first of the dialogue to its parent. Raises NotInStore."""
        with self.connection.reading() as database:
            return rows.history(database, id_of(turn))

    # ------------------------------------------------------------ feedback

    def add_feedback(
        self,
        kind: str,
        person: Person | int,
        turns: Reference | Sequence[Reference],
        value: Any = None,
        key: str | None = None,
        extra: dict[str, Any] | None = None,
        created: float | None = None,
    ) -> StoredFeedback:
        """Keep what a person says about a turn, or about several. It is never changed: later feedback stands beside it.

        Args:
            kind, turns, value: see `values`. extra: see `StoredFeedback`.
            key: of the client; if this person has sent it before, nothing is added and the first one is returned.
            created: now, unless it is known.

        Raises:
            NotInStore: no such person or turn. ValueError: a value that does not fit the kind, or a key that this
                person has used for other feedback.
        """
        key, said = inserts.checked_key(key), inserts.json_object(extra, "extra")
        with self.connection.writing() as database:
            who = inserts.known_person(database, person)
            return inserts.insert_feedback(
                database, kind, who, rows.several(turns), value, key, said, self._when(created)
            )

    def feedback(
        self,
        turn: Reference | None = None,
        person: Person | int | None = None,
        since: Reference | None = None,
        role: str | None = None,
    ) -> list[StoredFeedback]:
        """Feedback in the order in which it was given.

        Args:
            turn: only about that one. person: only by them. since: only what came after that feedback.
            role: only about turns of that role.
        """
        conditions = {
            "f.id IN (SELECT feedback FROM feedback_turns WHERE turn = ?)": turn,
            "f.person = ?": person,
            "f.id > ?": since or None,  # 0: all
        }
        asked: dict[str, Any] = {key: id_of(value) for key, value in conditions.items() if value is not None}
        asked |= {} if role is None else {rows.OF_ROLE: role}
        with self.connection.reading() as database:
            return rows.feedback(database, " AND ".join(asked), list(asked.values()))

    def size(self) -> tuple[int, int, int]:
        """How many dialogues, turns and pieces of feedback there are."""
        with self.connection.reading() as database:
            counts = (f"SELECT count(*) FROM {table}" for table in ("dialogues", "turns", "feedback"))
            dialogues, turns, feedback = (database.execute(count).fetchone()[0] for count in counts)
        return dialogues, turns, feedback

    def used_by(self, run: str | os.PathLike[str], feedback: Iterable[Reference]) -> None:
        """Note that a run has learned from feedback, so that `forget` can name the run. Raises NotInStore."""
        ids = [id_of(each) for each in feedback]
        with self.connection.writing() as database:
            for number in ids:
                the(database.execute("SELECT id FROM feedback WHERE id = ?", [number]).fetchall(), "feedback", number)
            values = [(well_formed(os.fspath(run), "run"), number) for number in ids]
            database.executemany("INSERT OR IGNORE INTO used (run, feedback) VALUES (?, ?)", values)

    # ------------------------------------------------------------ forgetting

    def forget(self, person: Person | str) -> Forgotten:
        """Remove a person, their dialogues and their feedback from the file, its free pages and its log.

        Raises:
            NotInStore: nobody has that name. StoreError: another process holds the file.
        """
        name = person if isinstance(person, str) else person.name
        with self.connection.writing() as database:
            if not (known := rows.people(database, "name = ?", [name])):
                raise NotInStore(f"nobody in {self.path} is called {name!r}")
            gone = forget(database, known[0], self.clock())
        return replace(gone, purged=self.connection.purge())

    def missing(self, feedback: Iterable[Reference]) -> set[int]:
        """Those of these ids of feedback that are not in the store, as after `forget`."""
        with self.connection.reading() as database:
            return missing(database, [id_of(each) for each in feedback])

    def forgotten(self) -> list[Forgotten]:
        """What was ever removed by `forget`, without who it was."""
        with self.connection.reading() as database:
            return forgotten(database)

    def _when(self, created: float | None) -> float:
        """A time that is known, or now. Raises ValueError."""
        if created is None:
            return self.clock()
        if isinstance(created, bool) or not isinstance(created, int | float) or not math.isfinite(created):
            raise ValueError(f"created is {str(created)[:40]!r}, expected seconds since 1970")
        return float(created)
