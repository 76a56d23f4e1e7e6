"""The values that pass between tasks, users, rewards and the env: Example, Feedback, Visit, Dialogue, Transition.

Shapes: B rows, L = max_context_tokens. Everything here is frozen; tensors inside are never written to.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dyngen_env.mdp.state import TokenState
from dyngen_env.text.media import Medium


@dataclass(frozen=True, slots=True)
class Example:
    """What an episode is about: the prompt that the agent sees, and what only rewards and users see.

    Attributes:
        prompt: the text that the context begins with.
        reference: an answer that rewards may compare the agent's with; None if the task has none.
        facts: whatever else a reward or a user of the same task needs to know.
        media: pictures and sounds that the agent is shown before the words of the prompt.
        task: the id whose episode this is, in an env that plays several ids (`dyngen_env.mix`); elsewhere None.

    Raises:
        ValueError: `media` is no tuple of pictures and sounds.
    """

    prompt: str
    reference: str | None = None
    facts: Any = None
    media: tuple[Medium, ...] = ()
    task: str | None = None

    def __post_init__(self) -> None:
        _check_media(self.media)


@dataclass(frozen=True, slots=True)
class Feedback:
    """A user's answer to one turn of the agent.

    Attributes:
        text: what the user says; it is appended to the context, where the agent reads it.
        rating: how much the user liked the turn, on a scale that the user chooses (the users of this package: -4 to
            4); None if they say nothing about it. The reward `rating` pays it.
        ends: False while the dialogue goes on, True when the user ends it, "goal" when they got what they wanted.
        revise: True asks for the same turn once more: what the agent has written was a draft. The agent writes anew,
            after what the user says; whether it still sees the draft is the env's keyword `drafts`. Nothing is paid for
            a draft by rewards of turns, whatever its rating, and `max_turns` does not count it. Where the context
            cannot hold the answer there is no further draft: the one that was written is the turn, and is paid as such.
        media: pictures and sounds that the agent is shown before the user's words.

    Raises:
        ValueError: both `ends` and `revise`; or `media` is no tuple of pictures and sounds.
    """

    text: str = ""
    rating: float | None = None
    ends: bool | str = False
    revise: bool = False
    media: tuple[Medium, ...] = ()

    def __post_init__(self) -> None:
        _check_media(self.media)
        if self.revise and self.ends:
            raise ValueError(
                f"feedback has ends={self.ends!r} and revise=True: who leaves cannot ask for another draft"
            )


@dataclass(frozen=True, slots=True)
class Visit:
    """The persona of somebody who comes back (`users.ReturningUser`).

    Attributes:
        person: who it is, the same in all of their episodes, and no other person's. From 0 to 2^53 - 1.
        number: which of their episodes this is, from 1 on.
        persona: what they keep in mind about themselves.
    """

    person: int
    number: int
    persona: Any = None


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The dialogue of one episode so far, as text.

    Attributes:
        example: what the dialogue began with.
        persona: what the user keeps in mind about themselves during the episode, made by `User.begin`: their wishes,
            their patience. The agent never sees it.
        completions: the agent's turns, without their stop strings and control tokens, and the drafts that the user sent
            back, each before what was written instead.
        feedback: the user's answers: `feedback[i]` answers `completions[i]`. While a user is being asked, the last
            completion has no answer yet.
    """

    example: Example
    persona: Any = None
    completions: tuple[str, ...] = ()
    feedback: tuple[Feedback, ...] = ()

    @property
    def turns(self) -> int:
        """How many turns of the agent have been answered, drafts not counted."""
        return sum(not answer.revise for answer in self.feedback)

    @property
    def drafts(self) -> int:
        """How many drafts of its last turn the agent has been asked to write anew: those before its last completion."""
        earlier = self.feedback[: len(self.completions) - 1]
        return next((n for n, answer in enumerate(reversed(earlier)) if not answer.revise), len(earlier))

    @property
    def person(self) -> int | None:
        """Who the user is, a number that they keep for all of their episodes; None if nobody ever comes back."""
        return self.persona.person if isinstance(self.persona, Visit) else None

    @property
    def visit(self) -> int:
        """Which of the person's episodes this is, from 1 on."""
        return self.persona.number if isinstance(self.persona, Visit) else 1

    def said(self, completion: str) -> Dialogue:
        """The dialogue after one more turn of the agent."""
        return Dialogue(self.example, self.persona, (*self.completions, completion), self.feedback)

    def heard(self, feedback: Feedback) -> Dialogue:
        """The dialogue after the user's answer to the last turn."""
        return Dialogue(self.example, self.persona, self.completions, (*self.feedback, feedback))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One step of B rows as rewards see it: state s, action a, next state s', and what was said.

    R rows have just ended a turn. What belongs to these turns is given in the order of `rows`, what belongs to every
    row in the order of the batch. Text is decoded when `completions` is first read, so that rewards that look at
    tokens alone cost no decoding. The tokens of the turn that row `rows[i]` has ended are
    `spoken.tokens[rows[i], before.turn_start[rows[i]] : spoken.length[rows[i]]]`.
    """

    before: TokenState  # s
    actions: torch.Tensor  # (B,) int64, a
    spoken: TokenState  # after the agent's tokens, before the users' answers
    after: TokenState  # s', the answers included
    turn_ended: torch.Tensor  # (B,) bool, True exactly at `rows`
    rows: Sequence[int] = ()  # (R,) which rows have ended a turn in this step
    completions: Sequence[str] = ()  # (R,) what the agent wrote in the turn
    examples: Sequence[Example] = ()  # (R,) what the row is about
    feedback: Sequence[Feedback] = ()  # (R,) the user's answer; an empty one where nobody answers
    dialogues: Sequence[Dialogue | None] = ()  # (R,) this turn and its answer included; None where nobody answers
    playing: Sequence[Example] = ()  # (B,) what each row is about, whether its turn ended or not
    talks: Sequence[Dialogue | None] = ()  # (B,) each row's dialogue before this step

    @property
    def live(self) -> torch.Tensor:
        """(B,) bool: rows whose episode was going on before the step. Only they can be paid."""
        return self.before.live

    def with_turns(self, kept: Sequence[int]) -> Transition:
        """The same step as if only the turns `kept`, indices into `rows`, had ended in it."""
        rows = [self.rows[i] for i in kept]
        turn_ended = torch.zeros_like(self.turn_ended)
        turn_ended[rows] = True
        return replace(
            self,
            turn_ended=turn_ended,
            rows=rows,
            completions=[self.completions[i] for i in kept],
            examples=[self.examples[i] for i in kept],
            feedback=[self.feedback[i] for i in kept],
            dialogues=[self.dialogues[i] for i in kept],
        )


def _check_media(media: object) -> None:
    if not (isinstance(media, tuple) and all(isinstance(medium, Medium) for medium in media)):
        raise ValueError(f"media={reprlib.repr(media)}: expected a tuple of Picture and Sound")
