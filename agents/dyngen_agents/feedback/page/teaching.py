"""From what a person has said about a turn to what the live learner learns from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dyngen_agents.feedback.live.log import RatedTurn
from dyngen_agents.feedback.page.transcript import opinions
from dyngen_agents.feedback.store import FeedbackStore, Person
from dyngen_agents.policy.feedback_memory import FeedbackMemory, Note
from dyngen_env.text.tokenizer import Tokenizer

THUMB = 2.0  # a thumb counts as so much of a rating, where there is no rating: half the scale


def lesson(
    store: FeedbackStore, tokenizer: Tokenizer, encoding: AbstractContextManager[Any], person: Person, turn: int
) -> RatedTurn | None:
    """What a person has said of one of the agent's turns by now; None if there is nothing to learn from it.

    What they answered to the turn counts as words about it only if they have also rated it, or the like: an answer
    alone may be about anything.

    Args:
        encoding: held while the tokenizer works.
    """
    rated = store.turn(turn)
    feedback = store.feedback(turn=turn, person=person)
    if rated.role != "agent" or not rated.tokens or not rated.context or not feedback:
        return None
    answers = [other.text for other in store.turns(rated.dialogue) if other.parent == turn and other.role == "user"]
    opinion = opinions(feedback).get(turn)
    rating = None if opinion is None else opinion.rating
    if opinion is not None and rating is None and opinion.thumbs is not None:
        rating = THUMB * opinion.thumbs
    better: tuple[int, ...] = ()
    ends = rated.tokens[-1:] if rated.tokens[-1] in tokenizer.end_ids else ()
    if opinion is not None and opinion.correction is not None:
        with encoding:
            better = (*tokenizer.encode(opinion.correction), *ends)
    for said in feedback:
        if said.kind == "preference" and said.turns[1] == turn:
            better = store.turn(said.turns[0]).tokens or better
    words = opinion.words[-1] if opinion is not None and opinion.words else "".join(answers[-1:])
    if rating is None and not better and not words:
        return None
    memory = rated.sampling.get("memory")
    return RatedTurn(
        turn=turn,
        person=person.name,
        context=rated.context,
        tokens=rated.tokens,
        rating=rating,
        words=words,
        better=better,
        memory=None if memory is None else memory_from(memory),
        feedback=tuple(said.id for said in feedback),
    )


def lessons(store: FeedbackStore, tokenizer: Tokenizer, fingerprint: str) -> Iterator[RatedTurn]:
    """All that people have said about turns of the model with this fingerprint, in the order of first ratings."""
    seen = set()
    for said in store.feedback():
        for turn in said.turns:
            if (turn, said.person.id) not in seen:
                seen.add((turn, said.person.id))
                written = store.turn(turn).model
                learned = lesson(store, tokenizer, nullcontext(), said.person, turn)
                if learned is not None and written is not None and written.fingerprint == fingerprint:
                    yield learned


def memory_from(record: dict[str, Any]) -> FeedbackMemory:
    """A memory that was stored with a turn."""
    notes = tuple(Note(tuple(note["ids"]), note["label"], note["begins"]) for note in record["notes"])
    return FeedbackMemory(record["model"], record["vocabulary"], record["width"], notes)
