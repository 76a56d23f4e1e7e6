"""Dialogues as the store has kept them, for those who replay them or learn from them: how turns were rated, one path of
a dialogue after the other, and what was said to each turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dyngen_agents.feedback.store import Dialogue, FeedbackStore, StoredFeedback, Turn
from dyngen_env.types import Feedback
from dyngen_env.users.console import parse_line

HIGHEST_RATING = 4.0


@dataclass(frozen=True, slots=True)
class Opinions:
    """What people have said about one turn.

    Attributes:
        rating: the mean of the last rating of each of them, -4 to +4, thumbs counting as that; None if nobody has
            rated it.
        feedback: the ids of the feedback in it.
        reply: what somebody has answered the agent, where an env has asked for it; None if nobody was asked.
    """

    rating: float | None
    feedback: tuple[int, ...]
    reply: Feedback | None = None


NO_OPINION = Opinions(None, ())


@dataclass(frozen=True, slots=True)
class DialoguePath:
    """One way through a dialogue, from its first turn to one that nothing follows.

    Attributes:
        prompt: what it begins with: the dialogue's opening, or else the first user's turn.
        turns: all others, in order.
    """

    prompt: str
    turns: tuple[Turn, ...]


def opinions(store: FeedbackStore, until: int | None = None) -> dict[int, Opinions]:
    """What people have said about turns, by the id of the turn; only about turns that somebody has rated or answered.

    Args:
        until: the id of the last feedback that counts. None is all: feedback is only ever added.
    """
    of_turn: dict[int, list[StoredFeedback]] = defaultdict(list)
    for given in store.feedback():
        if until is None or given.id <= until:
            for turn in given.turns:
                of_turn[turn].append(given)
    asked = {dialogue.id for dialogue in store.dialogues() if dialogue.settings.get("source") == "env"}
    found = {turn: _opinions(said, asked, store, turn) for turn, said in of_turn.items()}
    return {turn: opinion for turn, opinion in found.items() if opinion.feedback}


def paths(store: FeedbackStore, dialogue: Dialogue) -> Iterator[DialoguePath]:
    """The paths of a dialogue, in the order of their last turns."""
    turns = {turn.id: turn for turn in store.turns(dialogue)}
    followed = {turn.parent for turn in turns.values()}
    for last in turns.values():
        if last.id not in followed:
            path = [last]
            while (parent := path[0].parent) is not None:
                path.insert(0, turns[parent])
            if dialogue.opening:
                yield DialoguePath(dialogue.opening, tuple(path))
            elif path[0].role == "user":
                yield DialoguePath(path[0].text, tuple(path[1:]))


def recordings(store: FeedbackStore) -> list[list[dict[str, Any]]]:
    """Every path on which people have rated or answered the agent, as `info["dialogue"]` has dialogues, up to the last
    turn that was."""
    said = opinions(store)
    found = (_recording(path, said) for dialogue in store.dialogues() for path in paths(store, dialogue))
    return [recording for recording in found if recording is not None]


def _opinions(said: Sequence[StoredFeedback], asked: set[int], store: FeedbackStore, turn: int) -> Opinions:
    ratings, ids, reply = dict[int, float](), list[int](), None  # ratings: the last of each person
    for given in said:
        rating: float | None = None
        if given.kind in ("rating", "thumbs"):
            rating = given.value * (HIGHEST_RATING if given.kind == "thumbs" else 1.0)
        elif given.kind == "words" and store.turn(turn).dialogue in asked:
            heard = parse_line(given.value)
            reply, rating = reply or heard, heard.rating
        else:
            continue
        ids.append(given.id)
        if rating is not None:
            ratings[given.person.id] = float(rating)
    return Opinions(sum(ratings.values()) / len(ratings) if ratings else None, tuple(ids), reply)


def _recording(path: DialoguePath, said: dict[int, Opinions]) -> list[dict[str, Any]] | None:
    """A path as a recorded dialogue; None if nobody has answered, or two turns of the same role follow each other."""
    recorded: list[dict[str, Any]] = [{"role": "user", "text": path.prompt}]
    heard = 0  # entries up to the last answer of somebody
    # Without strict: a first message that has no answer has no turns after it.
    for turn, following in zip(path.turns, [*path.turns[1:], None], strict=False):
        if turn.role == recorded[-1]["role"]:
            return None
        if turn.role == "user":
            continue  # told with the agent's turn before it
        opinion = said.get(turn.id, NO_OPINION)
        answer = opinion.reply or Feedback()
        text = following.text if following is not None else answer.text
        recorded.append({"role": "agent", "text": turn.text})
        user = {"role": "user", "text": text, "rating": opinion.rating, "ends": answer.ends, "revise": answer.revise}
        recorded.append(user)
        if following is not None or opinion.feedback:
            heard = len(recorded)
    return recorded[:heard] if heard else None
