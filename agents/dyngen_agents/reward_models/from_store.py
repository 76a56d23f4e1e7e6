"""What reward models learn from in a store of people's feedback: pairs of texts, and texts with a rating."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from dyngen_agents.feedback.exchange import export_rows
from dyngen_agents.feedback.store import FeedbackStore


class Pair(NamedTuple):
    """Two completions of a prompt, and which one somebody liked more."""

    prompt: str
    chosen: str
    rejected: str


class Rated(NamedTuple):
    """A completion of a prompt, and the mean of what people rated it, from -4 to 4."""

    prompt: str
    text: str
    rating: float


def is_store(path: str | Path) -> bool:
    """Whether a file is a SQLite file, as stores are."""
    with Path(path).open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def pairs_in(path: str | Path) -> list[Pair]:
    """The pairs of a store, as `dyngen export --format preference` has them. Raises ValueError if there are none."""
    with FeedbackStore(path, create=False) as store:
        rows = export_rows(store, "preference").rows
    return [Pair(_text(row["prompt"]), _content(row["chosen"]), _content(row["rejected"])) for row in rows]


def rated_in(path: str | Path) -> list[Rated]:
    """The agent's rated turns in a store; of several ratings by one person the last counts.

    Raises:
        ValueError: there are none.
    """
    with FeedbackStore(path, create=False) as store:
        last = {(given.turns[0], given.person.id): given.value for given in store.feedback() if given.kind == "rating"}
        by_turn: dict[int, list[float]] = {}
        for (number, _), rating in last.items():
            by_turn.setdefault(number, []).append(rating)
        found = []
        for number, ratings in by_turn.items():
            turn = store.turn(number)
            if turn.role == "agent":
                before = [store.dialogue(turn.dialogue).opening, *(each.text for each in store.history(turn))]
                found.append(Rated("\n".join(before), turn.text, sum(ratings) / len(ratings)))
        if not found:
            raise ValueError(
                f"{store.path} has no ratings of what a model wrote: they come from `dyngen serve`, or `dyngen import`"
            )
    return found


def _text(prompt: str | list[dict[str, str]]) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt)


def _content(answer: str | list[dict[str, str]]) -> str:
    return answer if isinstance(answer, str) else answer[0]["content"]
