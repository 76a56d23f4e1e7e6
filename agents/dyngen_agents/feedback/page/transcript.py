"""A dialogue as one person sees it: the turns that count, what was said about them, and what the model reads of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dyngen_agents.feedback.page.context import Said
from dyngen_agents.feedback.store import StoredFeedback, Turn

PAIR = "side_by_side"  # in the sampling record of a turn: the name of the pair of answers that it belongs to


@dataclass
class Opinion:
    """What a person has said about a turn, the latest of each kind."""

    rating: float | None = None
    thumbs: int | None = None
    correction: str | None = None
    spans: list[dict[str, Any]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return vars(self)


def opinions(feedback: Iterable[StoredFeedback]) -> dict[int, Opinion]:
    """What was said about each turn, by the turn's id."""
    found: dict[int, Opinion] = {}
    for said in feedback:
        if said.kind in ("preference", "ranking"):
            continue
        opinion = found.setdefault(said.turns[0], Opinion())
        match said.kind:
            case "span":
                opinion.spans.append(said.value)
            case "words":
                opinion.words.append(said.value)
            case kind:
                setattr(opinion, kind, said.value)
    return found


@dataclass(frozen=True)
class Transcript:
    """A dialogue's turns as a tree, and the one line through it that is shown and gone on from.

    Attributes:
        turns: all of the dialogue, in the order in which they were added.
        feedback: of the person who talks, about these turns.
    """

    turns: Sequence[Turn]
    feedback: Sequence[StoredFeedback] = ()

    @property
    def line(self) -> list[Turn]:
        """From the first turn to the last: of several answers in the last place the chosen one, else the newest."""
        if not self.turns:
            return []
        by_id = {turn.id: turn for turn in self.turns}
        last = self.turns[-1]
        if last.role == "agent":
            drafts = {turn.id for turn in self.beside(last)}
            pair = {turn.id for turn in self.pair(last)}
            for said in self.feedback:
                if said.kind == "preference" and set(said.turns) <= drafts and last.id in pair & set(said.turns):
                    last = by_id[said.turns[0]]
        line = [last]
        while line[-1].parent is not None:
            line.append(by_id[line[-1].parent])
        return line[::-1]

    def beside(self, turn: Turn) -> list[Turn]:
        """All that was written in the place of a turn, itself included."""
        return [other for other in self.turns if other.parent == turn.parent and other.role == turn.role]

    def pair(self, turn: Turn) -> list[Turn]:
        """The two answers that were shown side by side, if the turn is one of them and both were stored, else none."""
        name = turn.sampling.get(PAIR)
        both = [other for other in self.beside(turn) if name and other.sampling.get(PAIR) == name]
        return both if len(both) == 2 else []

    @property
    def undecided(self) -> list[Turn]:
        """The two answers in the last place of which one has to be chosen; none if there is nothing to choose."""
        pair = self.pair(self.turns[-1]) if self.turns else []
        asked = {turn.id for turn in pair}
        decided = any(said.kind == "preference" and set(said.turns) == asked for said in self.feedback)
        return [] if decided else pair

    def said(self, upto: Turn) -> list[Said]:
        """What the model reads: the turns up to and with one of them. A correction stands for what it corrects."""
        by_id = {turn.id: turn for turn in self.turns}
        about = opinions(self.feedback)
        said, turn = list[Said](), upto
        while True:
            corrected = about.get(turn.id, Opinion()).correction
            before = None if turn.parent is None else by_id[turn.parent]
            if turn.role == "user":
                said.append(Said(False, turn.text) if before is None else self.answer_to(before, turn.text))
            else:
                said.append(Said(True, turn.text, turn.tokens) if corrected is None else Said(True, corrected))
            if before is None:
                return said[::-1]
            turn = before

    def answer_to(self, turn: Turn, text: str) -> Said:
        """What the person answers to one of the agent's turns, with how they have rated it."""
        return Said(False, text, rating=opinions(self.feedback).get(turn.id, Opinion()).rating)

    def view(self) -> dict[str, Any]:
        """What the page shows, as values that JSON can hold."""
        about = opinions(self.feedback)
        undecided = self.undecided
        line = self.line[:-1] if undecided else self.line

        def seen(turn: Turn) -> dict[str, Any]:
            return shown(turn, about.get(turn.id, Opinion()), len(self.beside(turn)))

        return {"turns": [seen(turn) for turn in line], "pair": [seen(turn) for turn in undecided]}


def shown(turn: Turn, opinion: Opinion | None = None, drafts: int = 1) -> dict[str, Any]:
    """What the page shows of a turn, as values that JSON can hold."""
    return {
        "id": turn.id,
        "role": turn.role,
        "text": turn.text,
        "drafts": drafts,
        "version": turn.model.version if turn.model else "",
        "finish": turn.sampling.get("finish", ""),
        **(opinion or Opinion()).record(),
    }
