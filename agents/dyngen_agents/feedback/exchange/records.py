"""The `record` of an exported row: a JSON text with every field of the dialogues, turns and feedback behind the row.

Ids are numbers of one file, so records refer by keys, which are the same everywhere: what a store has already is
recognised, and importing a file twice adds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from dyngen_agents.feedback.store import Dialogue, FeedbackStore, ModelStamp, StoredFeedback, Turn


class Snapshot:
    """All of a store at one moment, for those who look many things up.

    Attributes:
        dialogues, turns, feedback: by id, in order.
    """

    def __init__(self, store: FeedbackStore):
        with store.at_one_moment():
            self.dialogues = {dialogue.id: dialogue for dialogue in store.dialogues()}
            self.turns = {turn.id: turn for talk in self.dialogues for turn in store.turns(talk)}
            self.feedback = {given.id: given for given in store.feedback()}
        self.by_dialogue: dict[int, list[Turn]] = {talk: [] for talk in self.dialogues}
        for turn in self.turns.values():
            self.by_dialogue[turn.dialogue].append(turn)

    def path_to(self, turn: Turn) -> list[Turn]:
        """The turns from the first of the dialogue to this one, itself included."""
        path = [turn]
        while (parent := path[-1].parent) is not None:
            path.append(self.turns[parent])
        return path[::-1]

    def record(
        self, turns: Iterable[Turn], feedback: Iterable[StoredFeedback], dialogues: Iterable[Dialogue] = ()
    ) -> str:
        """The JSON text that restores some turns, feedback and dialogues, with all that these lead to."""
        feedback, needed, open_ = list(feedback), dict[int, Turn](), [turn.id for turn in turns]
        open_ += [turn for given in feedback for turn in given.turns]
        while open_:
            turn = self.turns[open_.pop()]
            if turn.id not in needed:
                needed[turn.id] = turn
                open_ += [other for other in (turn.parent, turn.replaces) if other is not None]
        talks = {talk.id: talk for talk in dialogues}
        talks |= {turn.dialogue: self.dialogues[turn.dialogue] for turn in needed.values()}
        people = {talk.person for talk in talks.values() if talk.person} | {given.person for given in feedback}
        return json.dumps(
            {
                "people": [
                    {"name": person.name, "created": person.created}
                    for person in sorted(people, key=lambda person: person.id)
                ],
                "dialogues": [_of_dialogue(talks[number]) for number in sorted(talks)],
                "turns": [self._of_turn(needed[number]) for number in sorted(needed)],
                "feedback": [self._of_feedback(given) for given in feedback],
            },
            ensure_ascii=False,
        )

    def _of_turn(self, turn: Turn) -> dict[str, Any]:
        def key(number: int | None) -> str | None:
            return None if number is None else self.turns[number].key

        links = {"parent": key(turn.parent), "replaces": key(turn.replaces)}
        return _fields(turn) | links | {"dialogue": self.dialogues[turn.dialogue].key}

    def _of_feedback(self, given: StoredFeedback) -> dict[str, Any]:
        return _fields(given) | {
            "person": given.person.name,
            "turns": [self.turns[number].key for number in given.turns],
        }


def restore(store: FeedbackStore, record: str | dict[str, Any]) -> list[StoredFeedback]:
    """Put what a record holds into a store, and return its feedback; what is there already stays as it is.

    Raises:
        ValueError, KeyError, TypeError: it is no record, or differs from what the store has under the same keys.
    """
    held = json.loads(record) if isinstance(record, str) else record
    people = {each["name"]: store.person(each["name"], created=each["created"]) for each in held["people"]}
    talks: dict[str, Dialogue] = {}
    for each in held["dialogues"]:
        talk = dict(each, person=people[each["person"]] if each["person"] else None, model=_stamp(each["model"]))
        talks[each["key"]] = store.begin_dialogue(**talk)
    turns: dict[str, Turn] = {}
    for each in held["turns"]:
        dialogue = talks[each["dialogue"]]
        values = dict(each, dialogue=dialogue, model=_stamp(each["model"]))
        parent, draft = values.pop("parent"), values.pop("replaces")
        place: dict[str, Any]
        if draft is not None:
            place = {"replaces": turns[draft]}
        elif parent is not None:
            place = {"after": turns[parent]}
        else:  # a first turn; others may be there already
            place = {"beside": next((turn for turn in store.turns(dialogue) if turn.parent is None), None)}
        turns[each["key"]] = store.add_turn(**values, **place)
    return [
        store.add_feedback(**dict(each, person=people[each["person"]], turns=[turns[key] for key in each["turns"]]))
        for each in held["feedback"]
    ]


def _of_dialogue(talk: Dialogue) -> dict[str, Any]:
    return _fields(talk) | {"person": talk.person and talk.person.name}


def _fields(record: Dialogue | Turn | StoredFeedback) -> dict[str, Any]:
    values = asdict(record)
    del values["id"]
    return values


def _stamp(values: dict[str, str] | None) -> ModelStamp | None:
    return None if values is None else ModelStamp(**values)
