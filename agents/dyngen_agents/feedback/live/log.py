"""The log of rated turns that a live learner learns from: in the order in which the turns were first rated.

Everything that is learned is a function of the log: the memory of a person is their latest answers in it, and an update
of the weights reads its last turns. So whatever is dropped from the log teaches nothing from then on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dyngen_agents.policy.feedback_memory import FeedbackMemory, Note, write_note
from dyngen_env.text.tokenizer import Tokenizer


class NotTheirs(ValueError):
    """Somebody wants to take back what others have said."""


@dataclass(frozen=True, slots=True)
class RatedTurn:
    """A turn of the agent, and what a person has said of it.

    Attributes:
        turn: which turn it is, such as the store's id. What is said of the same turn later replaces what was known.
        person: who rated it, a pseudonym.
        context: token ids that stood before the turn when it was written.
        tokens: token ids of the turn as they were sampled, the one that ended it included.
        rating: -4 to +4; None if the person did not rate.
        words: what the person said of it, or answered to it; "" if nothing.
        better: token ids of what the person would rather have read in its place: their correction of it, or the
            candidate that they chose instead. Empty if there is none.
        memory: what the model attended to beside the context (`LiveLearner.memory_of` at that time); None if nothing.
        feedback: the ids of the feedback that says all this, for the record.
    """

    turn: int | str
    person: str
    context: tuple[int, ...]
    tokens: tuple[int, ...]
    rating: float | None = None
    words: str = ""
    better: tuple[int, ...] = ()
    memory: FeedbackMemory | None = None
    feedback: tuple[int | str, ...] = ()

    def __post_init__(self) -> None:
        if not self.context or not self.tokens:
            raise ValueError(
                f"turn {self.turn!r} has {len(self.context)} tokens of context and {len(self.tokens)} of its own: give "
                "at least one of each, as the model read and wrote them"
            )
        if self.rating is not None and not -4 <= self.rating <= 4:
            raise ValueError(f"rating {self.rating} of turn {self.turn!r}: expected -4 to 4, or None")

    @property
    def end(self) -> int:
        """Tokens of the context and of the turn."""
        return len(self.context) + len(self.tokens)

    def joined(self, later: RatedTurn) -> RatedTurn:
        """The same turn after more was said of it: what `later` says holds, what it leaves out stays."""
        return replace(
            later,
            rating=self.rating if later.rating is None else later.rating,
            words=later.words or self.words,
            better=later.better or self.better,
            memory=later.memory or self.memory,
            feedback=tuple(dict.fromkeys((*self.feedback, *later.feedback))),
        )


class TurnLog:
    """Rated turns, each once, in the order in which they were first rated. Not for two threads at once.

    Args:
        tokenizer: the model's. note_tokens, kept_notes: of the memory, see `LiveConfig`.
    """

    def __init__(self, tokenizer: Tokenizer, note_tokens: int, kept_notes: int):
        self.tokenizer, self.note_tokens, self.kept_notes = tokenizer, note_tokens, kept_notes
        self._turns: dict[int | str, RatedTurn] = {}

    def add(self, turn: RatedTurn) -> bool:
        """Take a turn down. Returns whether it is a new one."""
        known = self._turns.get(turn.turn)
        self._turns[turn.turn] = turn if known is None else known.joined(turn)
        return known is None

    def drop(self, turns: Iterable[int | str]) -> None:
        """Forget turns. Those that it does not have are none of its business."""
        for turn in turns:
            self._turns.pop(turn, None)

    def require_own(self, person: str | None, turns: Iterable[int | str], what: str) -> None:
        """Raises NotTheirs if somebody else than a person has rated one of these turns; None: anybody may.

        Args:
            what: what learned from them, for the message.
        """
        known = (self._turns.get(turn) for turn in turns)
        if person is not None and any(turn is not None and turn.person != person for turn in known):
            raise NotTheirs(
                f"{what} has learned from what others have said, too: whoever serves the model can take that back"
            )

    def all(self) -> list[RatedTurn]:
        """All turns that it has, oldest first."""
        return list(self._turns.values())

    def __getitem__(self, turn: int | str) -> RatedTurn:
        return self._turns[turn]

    def latest(self, count: int) -> list[RatedTurn]:
        """The last `count` turns at most, oldest first."""
        return self.all()[-count:]

    def memory_of(self, person: str, context: tuple[int, ...] = ()) -> FeedbackMemory | None:
        """What is known of a person: their latest answers. None if nothing is, or nothing is to be remembered.

        Args:
            context: the tokens of the dialogue in which they are about to be answered. What they said in it counts from
                where they said it, as in a rollout (`MemoryActor`); what they said elsewhere from the first token on.
        """
        own = [
            turn for turn in self._turns.values() if turn.person == person and (turn.words or turn.rating is not None)
        ]
        latest = own[max(0, len(own) - self.kept_notes) :]
        if not latest:
            return None
        here = [turn for turn in latest if context[: turn.end] == (*turn.context, *turn.tokens)]
        answered = [len(turn.context) - 1 for turn in here[1:]] + [len(context) - 1]  # the next turn begins after it
        begins = dict(zip((turn.turn for turn in here), answered, strict=True)) if here else {}
        notes = tuple(self._note(turn, begins.get(turn.turn, 0)) for turn in latest)
        return FeedbackMemory(self.tokenizer.name, len(self.tokenizer), self.note_tokens, notes)

    def _note(self, turn: RatedTurn, begins: int) -> Note:
        return write_note(self.tokenizer, turn.words, turn.rating, self.note_tokens, begins)
