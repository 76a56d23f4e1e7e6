"""The store of feedback as the people who answer for an env: `user="page(...)"`, `reward="human(...)"`.

What an env asks about becomes turns of dialogues in the store, and tasks that wait for raters: of kind "rating", or of
kind "words" where somebody talks with the agent. A task's texts are known by what was said, so that equal questions of
several rows, steps and runs are one task.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from dyngen_agents.feedback.recordings import recordings
from dyngen_agents.feedback.store import Dialogue, FeedbackStore, ModelStamp, Person, StoredFeedback, Task, Turn, rows
from dyngen_env import types
from dyngen_env.scoring.people import Question, Written, turn_key
from dyngen_env.types import Feedback
from dyngen_env.users.console import parse_line

SOURCE = "env"


def people_in(file: str) -> StorePeople:
    """The people who answer through the store in a file. `dyngen_env.scoring.people` calls this."""
    return StorePeople(file)


class StorePeople:
    """`dyngen_env.scoring.people.People` on a `FeedbackStore`, which is opened, and made, when it is first needed."""

    def __init__(self, file: str):
        self.file = file
        self._turns: dict[tuple[str, bool], int] = {}  # the id of that about which people are asked, by the question

    @cached_property
    def store(self) -> FeedbackStore:
        """The store."""
        return FeedbackStore(self.file)

    def ask(self, questions: Sequence[Question]) -> None:
        """See `People.ask`."""
        new = {question.key: question for question in questions if question.key not in self._turns}
        if not new:
            return
        with self.store.at_once():
            asked = {key: self._task(question).turns[0] for key, question in new.items()}
        self._turns |= asked

    def answers(self, questions: Sequence[Question]) -> list[list[Feedback]]:
        """See `People.answers`."""
        return [
            [
                _heard(given)
                for given in self.store.feedback(turn=self._turns[question.key])
                if _answers(given, question)
            ]
            for question in questions
        ]

    def recordings(self) -> list[list[dict[str, Any]]]:
        """See `People.recordings`."""
        with FeedbackStore(self.file, create=False) as store:  # who reads makes no store
            return recordings(store)

    def _task(self, question: Question) -> Task:
        """The task about a question's texts, perhaps an older one about the same texts in another turn."""
        turn = self._stored(question.dialogue, question.written)
        return self.store.enqueue("words" if question.reply else "rating", turn, question.raters, source=SOURCE)

    def _stored(self, talk: types.Dialogue, written: Written | None) -> Turn:
        """The last completion of a dialogue as a turn in the store, with all that was said before it."""
        people = self._who_spoke(talk)
        dialogue = self._dialogue(talk, people)
        before: Turn | None = None
        for i, answer in enumerate(talk.feedback[: len(talk.completions) - 1]):
            so_far = _first_turns(talk, i + 1)
            before = self._agent_turn(dialogue, so_far, None, before)
            key = f"{turn_key(so_far)} {_hash([answer.text])[:16]} {dialogue.id}"
            before = self.store.add_turn(dialogue, "user", answer.text, after=before, key=key)
        return self._agent_turn(dialogue, talk, written, before)

    def _dialogue(self, talk: types.Dialogue, people: Sequence[Person]) -> Dialogue:
        """The dialogue that begins with this prompt and this turn, and in which these people have spoken so far.

        It belongs to the last of them, and names all: whoever is forgotten takes it along.
        """
        example = talk.example
        names = [person.name for person in people]
        settings: dict[str, Any] = {"source": SOURCE, "people": list(dict.fromkeys(names))}
        settings |= {} if example.reference is None else {"reference": example.reference}
        key = _hash([SOURCE, example.prompt, talk.completions[0], names])
        return self.store.begin_dialogue(people[-1] if people else None, None, settings, example.prompt, key)

    def _agent_turn(self, dialogue: Dialogue, talk: types.Dialogue, ids: Written | None, before: Turn | None) -> Turn:
        """The last completion of `talk` as a turn of this dialogue. What other dialogues know of its tokens, it has."""
        key = turn_key(talk)
        with self.store.connection.reading() as database:
            known = next(iter(rows.turns(database, "t.key = ?", [key])), None)
        if known is not None and known.dialogue != dialogue.id:
            key = f"{key} {dialogue.id}"
        elif known is not None:
            return known
        said: dict[str, Any] = {"after": before, "key": key}
        if ids is not None:
            by = ids.policy
            stamp = ModelStamp(by.model, by.fingerprint, by.version) if by.model else None
            said |= {"tokens": ids.tokens, "context": ids.context, "logprobs": ids.logprobs, "model": stamp}
            said["sampling"] = dict(by.sampling)
        elif known is not None:
            said |= {name: getattr(known, name) for name in ("tokens", "context", "logprobs", "model", "sampling")}
        return self.store.add_turn(dialogue, "agent", talk.completions[-1], **said)

    def _who_spoke(self, talk: types.Dialogue) -> list[Person]:
        """The people whose words the agent has heard in a dialogue, in order; nobody for simulated users."""
        people: list[Person] = []
        for i, answer in enumerate(talk.feedback[: len(talk.completions) - 1]):
            question = Question(_first_turns(talk, i + 1), reply=True)
            if (turn := self._turns.get(question.key)) is not None:
                said = [f for f in self.store.feedback(turn=turn) if _answers(f, question)]
                people += [given.person for given in said if _heard(given).text == answer.text][:1]
        return people


def _answers(given: StoredFeedback, question: Question) -> bool:
    return given.kind == ("words" if question.reply else "rating")


def _heard(given: StoredFeedback) -> Feedback:
    """What the env hears of an answer: a rating, or words that may hold a rating and commands, as at the terminal."""
    return Feedback(rating=given.value) if given.kind == "rating" else parse_line(given.value)


def _first_turns(talk: types.Dialogue, turns: int) -> types.Dialogue:
    """The dialogue up to so many completions, of which the last has no answer yet."""
    return replace(talk, completions=talk.completions[:turns], feedback=talk.feedback[: turns - 1])


def _hash(what: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
