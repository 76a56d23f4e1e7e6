"""Talking with the model, without HTTP: whatever people say is stored before anything is made of it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from dyngen_agents.feedback.live.learner import LiveLearner
from dyngen_agents.feedback.page.context import Said
from dyngen_agents.feedback.page.served_model import ServedModel, TurnSettings
from dyngen_agents.feedback.page.teaching import lesson
from dyngen_agents.feedback.page.transcript import PAIR, Transcript
from dyngen_agents.feedback.page.writer import TooBusy, Writer
from dyngen_agents.feedback.page.writing import Job, Request, Writing, Written
from dyngen_agents.feedback.store import (
    Dialogue,
    FeedbackStore,
    ModelStamp,
    NotInStore,
    Person,
    StoredFeedback,
    Turn,
)

LISTED = 50  # dialogues of a person, the newest
SEATS = (0, 1)  # of the answers to one message that are written side by side


class Moved(ValueError):
    """The dialogue has gone on in another place, or an answer is still being written."""


class Chat:
    """What people can do with dialogues. Every method may be called by any thread; persons see only what is theirs.

    Args:
        store: keeps everything. model, writer: write the answers.
        learner: told of each rating, correction and wish after it was stored; None: nobody learns.
    """

    def __init__(self, store: FeedbackStore, model: ServedModel, writer: Writer, learner: LiveLearner | None = None):
        self.store, self.model, self.writer, self.learner = store, model, writer, learner
        self._lock = threading.RLock()  # one message at a time: encoding is quick, and tokenizers are not thread-safe

    def close(self) -> None:
        """End what is being written, and what is being learned. The store stays open."""
        self.writer.close()
        if self.learner is not None:
            self.learner.close()

    def dialogues(self, person: Person) -> list[dict[str, Any]]:
        """A person's dialogues, the newest first, by the beginning of what they said."""
        newest = self.store.dialogues(person)[: -LISTED - 1 : -1]
        listed = []
        for dialogue in newest:
            turns = self.store.turns(dialogue)
            if turns:
                listed.append({"id": dialogue.id, "title": " ".join(turns[0].text[:80].split())})
        return listed

    def begin(self, person: Person, key: str) -> Dialogue:
        """A new dialogue; the same one if the key is."""
        stamp = ModelStamp(self.model.name, self.model.fingerprint)
        return self.store.begin_dialogue(person, stamp, {"from": "page"}, key=f"page.{person.id}.{key}")

    def transcript(self, person: Person, dialogue: int) -> Transcript:
        """A person's dialogue. Raises NotInStore if it is not theirs, as if there were none."""
        self._own_dialogue(person, dialogue, f"dialogue {dialogue}")
        turns = self.store.turns(dialogue)
        ids = {turn.id for turn in turns}
        return Transcript(turns, [said for said in self.store.feedback(person=person) if ids.issuperset(said.turns)])

    def view(self, person: Person, dialogue: int) -> dict[str, Any]:
        """What the page shows of a dialogue, and the keys of answers that are being written."""
        writing = self.writer.open_in(dialogue)  # first: what ends meanwhile is in the transcript then
        seen = self.transcript(person, dialogue).view()
        return {"id": dialogue, **seen, "writing": [one.key for one in writing if one.outcome is None]}

    def message(
        self, person: Person, dialogue: int, text: str, after: int | None, settings: TurnSettings, two: bool, key: str
    ) -> tuple[Turn, list[Writing]]:
        """Store what a person says and have it answered.

        Args:
            after: the turn after which they say it; None: the dialogue begins with it.
            two: whether they want two answers to choose from. key: a second attempt with the same key is the first.

        Raises:
            NotInStore: the dialogue is not theirs. Moved: it has gone on elsewhere. ValueError: it is too long, or
                the key is that of another message.

        Returns:
            what was stored, and the answers, none if too many are waiting already.
        """
        with self._lock:
            before = self.transcript(person, dialogue)
            own_key = f"page.{person.id}.{key}"
            known = next((turn for turn in before.turns if turn.key == own_key), None)
            if known is not None:
                if (known.text, known.parent) != (text, after):
                    raise ValueError(f"you have used the key {key!r} for another message: give each its own key")
                return known, self.writer.asked_by(own_key)
            line = before.line
            if (line[-1].id if line else None) != after or self.writer.open_in(dialogue):
                raise Moved("the dialogue has gone on in another window, or is being answered: load it again")
            if line and line[-1].role == "user":
                raise Moved("the last message has not been answered yet: have it answered first")
            said = [*before.said(line[-1]), before.answer_to(line[-1], text)] if line else [Said(False, text)]
            context = self._context(said, settings)  # what is too long is refused before it is stored
            turn = self.store.add_turn(dialogue, "user", text, after=after, key=own_key)
            if line:
                self._teach(person, line[-1].id)  # before it is answered: the memory has what was just said
            try:
                writing = self._write(person, turn, None, context, settings, two, Request(own_key, turn.id))
            except TooBusy:
                writing = []
        return turn, writing

    def answer(
        self, person: Person, dialogue: int, after: int, wish: str, settings: TurnSettings, two: bool, key: str
    ) -> list[Writing]:
        """Have the last message answered, or answered again.

        Args:
            after: the message. wish: what should be different from the last answer; "" if that was not said.
            key: a second attempt with the same key is the first.

        Raises:
            NotInStore, Moved, ValueError: as `message`. TooBusy: too many answers are waiting already.

        Returns:
            the answers; of a second attempt none if they were complete long ago.
        """
        with self._lock:
            known = self.transcript(person, dialogue)
            request = Request(f"page.{person.id}.{key}", after, wish)
            if (written := self._asked_before(known, request, key)) is not None:
                return written
            line = known.line
            if self.writer.open_in(dialogue):
                raise Moved("the dialogue is being answered: wait until it has been, or stop it")
            asked = next((turn for turn in line[-2:] if turn.role == "user" and turn.id == after), None)
            if asked is None:
                raise Moved("the dialogue has gone on in another window: load it again")
            draft = line[-1] if line[-1].role == "agent" else None
            if draft is None or not wish:
                context = self._context(known.said(asked), settings)
            else:
                context = self._context([*known.said(draft), known.answer_to(draft, wish)], settings)
                self.store.add_feedback("words", person, draft, wish, key=f"{key}.wish")
                self._teach(person, draft.id)
            return self._write(person, asked, draft, context, settings, two, request)

    def feedback(self, person: Person, kind: str, turns: Sequence[int], value: Any, key: str) -> StoredFeedback:
        """Store what a person says about turns of their own dialogues.

        Raises:
            NotInStore: a turn is not theirs. ValueError: the value does not fit the kind, a turn is not the agent's, or
                they are not answers to the same message.
        """
        about = [self.own_turn(person, turn) for turn in turns]
        for turn in about:
            if turn.role != "agent":
                raise ValueError(f"turn {turn.id} is a message of yours: say what you think of the model's answers")
        if len({(turn.dialogue, turn.parent) for turn in about}) > 1:
            raise ValueError(f"{kind} of answers to different messages: compare what answers the same one")
        said = self.store.add_feedback(kind, person, turns, value, key=key)
        self._teach(person, turns[-1] if kind == "preference" else turns[0])
        return said

    def own_turn(self, person: Person, turn: int) -> Turn:
        """A turn of a person's dialogues. Raises NotInStore if it is not, as if there were none."""
        try:
            found = self.store.turn(turn)
        except NotInStore:
            raise _not_theirs(f"turn {turn}") from None
        self._own_dialogue(person, found.dialogue, f"turn {turn}")
        return found

    def _own_dialogue(self, person: Person, dialogue: int, what: str) -> None:
        """Raises NotInStore unless the dialogue is theirs, in words that do not tell whether it is somebody else's."""
        try:
            owner = self.store.dialogue(dialogue).person
        except NotInStore:
            owner = None
        if owner != person:
            raise _not_theirs(what)

    def _asked_before(self, known: Transcript, request: Request, key: str) -> list[Writing] | None:
        """The answers to a request that was sent before; None if it is new.

        Raises:
            ValueError: its key was sent before for another request.
        """
        writings = self.writer.asked_by(request.key)
        if writings:
            same = all(writing.job.request == request for writing in writings)
        else:
            keys = {_answer_key(request, seat) for seat in SEATS}
            stored = [turn for turn in known.turns if turn.key in keys]
            if not stored:
                return None
            wish = next((said.value for said in known.feedback if said.key == f"{key}.wish"), "")
            same = all(t.parent == request.after and (t.replaces is None or wish == request.wish) for t in stored)
        if not same:
            raise ValueError(f"you have used the key {key!r} for another answer: give each its own key")
        return writings

    def _context(self, said: Sequence[Said], settings: TurnSettings) -> list[int]:
        """What the model reads before a turn. Raises ValueError if that is too long, or the settings cannot work."""
        frame = self.model.frame
        self.model.distribution(settings)  # raises ValueError if these words cannot be banned
        return frame.context(said, min(settings.max_new_tokens, frame.max_context_tokens // 2))

    def _write(
        self,
        person: Person,
        asked: Turn,
        draft: Turn | None,
        context: list[int],
        settings: TurnSettings,
        two: bool,
        request: Request,
    ) -> list[Writing]:
        """Have the turn after `asked` written, in place of `draft` if there is one."""
        dialogue = asked.dialogue
        pair = secrets.token_hex(6) if two else None

        def keep(written: Written, key: str) -> dict[str, Any]:
            turn = self.store.add_turn(
                dialogue,
                "agent",
                written.text,
                tokens=written.tokens,
                logprobs=written.logprobs,
                context=context,
                sampling=_sampling(written, pair),
                model=ModelStamp(self.model.name, self.model.fingerprint, written.version),
                after=asked if draft is None else None,
                replaces=draft,
                key=key,
            )
            return {"turn": turn.id, "text": turn.text, "finish": written.finish, "version": written.version}

        def job(seat: int) -> Job:
            kept = partial(keep, key=_answer_key(request, seat))
            return Job((dialogue, seat), person.name, context, settings, kept, request)

        return self.writer.submit(*map(job, SEATS if two else SEATS[:1]))

    def _teach(self, person: Person, turn: int) -> None:
        """Tell the learner what a person has said of a turn by now, if there is a learner."""
        if self.learner is not None:
            learned = lesson(self.store, self.model.tokenizer, self._lock, person, turn)
            if learned is not None:
                self.learner.rated(learned)


def _answer_key(request: Request, seat: int) -> str:
    """By which the store knows the answer to a request again."""
    return f"{request.key}.answer.{seat}"


def _not_theirs(what: str) -> NotInStore:
    return NotInStore(f"there is no {what} among yours")


def _sampling(written: Written, pair: str | None) -> dict[str, Any]:
    """How a turn was sampled, and what it took, for the store."""
    record = written.settings.record() | {"seed": written.seed, "finish": written.finish}
    record |= {"first_token_s": round(written.first_token, 4), "seconds": round(written.seconds, 4)}
    if pair is not None:
        record[PAIR] = pair
    if written.memory is not None:
        record["memory"] = asdict(written.memory)
    return record
