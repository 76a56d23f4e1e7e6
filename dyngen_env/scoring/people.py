"""People who answer for an env: what they are asked about turns of the agent, and waiting for their answers.

An env knows people by the protocol `People` alone. Behind it is a file in which questions wait and answers are kept,
the store of `dyngen_agents.feedback`; the page of `dyngen serve` shows people the questions of such a file. Whoever
asks about equal dialogues asks once: a step that failed, a run that goes on and the fork of an env find what was
answered before.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch

from dyngen_env.mdp.state import TokenState
from dyngen_env.types import Dialogue, Example, Feedback

FILE = "feedback.db"  # of those who name no other
ROOM = "dyngen_agents.feedback.people"  # has `people_in(file)`; loaded when people are first asked
LOOKS = (0.02, 0.5)  # seconds between two looks for answers: at first, and at most

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Behaviour:
    """Which policy plays in the env, as far as somebody has said so (`played_by`).

    Attributes:
        model, fingerprint, version: the name of its model, of the model's files, and which weights if these change.
        sampling: temperature and the like.
        logprobs: gives the log-probs of the tokens that it has chosen in B rows, (B, L) float32, nats.
        counted: gives the rows whose episodes count, (B,) bool: nobody is asked about others.
        asks: whether people may be asked about what it writes. If not, they say nothing, and what they pay is 0.
    """

    model: str = ""
    fingerprint: str = ""
    version: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    logprobs: Callable[[], torch.Tensor] | None = None
    counted: Callable[[], np.ndarray] | None = None
    asks: bool = True


_behaviour: ContextVar[Behaviour] = ContextVar("behaviour", default=Behaviour())  # noqa: B039  it is frozen


@contextmanager
def played_by(**known: Any) -> Iterator[None]:
    """Within this block the policy that plays is known: to what was said before, fields of `Behaviour` are added."""
    token = _behaviour.set(replace(_behaviour.get(), **known))
    try:
        yield
    finally:
        _behaviour.reset(token)


@dataclass(frozen=True, slots=True)
class Written:
    """The tokens of one turn, as learners need them.

    Attributes:
        tokens: the ids that the agent chose. context: the ids before them.
        logprobs: of each id under the policy that chose it, nats; None where nobody has said.
        policy: who chose them.
        counts: whether the episode is wanted. Rows that have played all of theirs go on in some rollouts.
    """

    tokens: tuple[int, ...]
    context: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    policy: Behaviour
    counts: bool = True


def written(spoken: TokenState, rows: Sequence[int]) -> list[Written]:
    """The turns that have just ended in `rows` (R,) of a state after the agent's tokens."""
    policy, where = _behaviour.get(), list(rows)
    tokens, starts, ends = (x[where].tolist() for x in (spoken.tokens, spoken.turn_start, spoken.length))
    known = policy.logprobs and policy.logprobs()[where].tolist()
    counts = [True] * len(where) if policy.counted is None else policy.counted()[where].tolist()
    return [
        Written(
            tuple(ids[start:end]), tuple(ids[:start]), tuple(known[i][start:end]) if known else None, policy, counts[i]
        )
        for i, (ids, start, end) in enumerate(zip(tokens, starts, ends, strict=True))
    ]


@dataclass(frozen=True, slots=True)
class Question:
    """One turn of the agent that people are asked about.

    Attributes:
        dialogue: with everything before the turn, and the turn itself as its last completion, not answered yet.
        reply: whether an answer in words is wanted, as of somebody who talks with the agent; else a rating.
        raters: how many people are asked.
        written: the turn's tokens, if they are known. Nobody is asked where they do not count.
    """

    dialogue: Dialogue
    reply: bool = False
    raters: int = 1
    written: Written | None = None

    @property
    def counts(self) -> bool:
        """Whether the answer is wanted."""
        return _behaviour.get().asks and (self.written is None or self.written.counts)

    @property
    def key(self) -> tuple[str, bool]:
        """What tells this question from others: the turn, and what is wanted."""
        return turn_key(self.dialogue), self.reply


def turn_key(dialogue: Dialogue) -> str:
    """A hash of all that was said up to the last completion of a dialogue. Personas and ratings have no part in it."""
    said = [answer.text for answer in dialogue.feedback[: len(dialogue.completions) - 1]]
    return hashlib.sha256(json.dumps([dialogue.example.prompt, dialogue.completions, said]).encode()).hexdigest()


def single_turn(example: Example, text: str) -> Dialogue:
    """The dialogue in which the agent has written a text, where nobody answers."""
    return Dialogue(example).said(text)


class People(Protocol):
    """Where people's answers come from. Several threads and processes may use it."""

    def ask(self, questions: Sequence[Question]) -> None:
        """Put questions up, those that are not there yet. They are on the disk when this returns."""

    def answers(self, questions: Sequence[Question]) -> list[list[Feedback]]:
        """What people have answered so far to each of R questions that were put up, the first answer first."""

    def recordings(self) -> list[list[dict[str, Any]]]:
        """Every dialogue in which people have answered the agent, as `info["dialogue"]` has them."""


def people_in(file: str | Path) -> People:
    """The people who answer through a store of feedback. The file is made when somebody is first asked."""
    return _people_in(str(Path(file).expanduser().absolute()))


@cache
def _people_in(file: str) -> People:
    return cast(People, importlib.import_module(ROOM).people_in(file))


def ask_and_wait(people: People, questions: Sequence[Question], timeout: float, where: str) -> list[list[Feedback]]:
    """Ask people about turns and wait until everybody who was asked has answered, or the time is up.

    Ctrl-C ends the waiting at once, and loses nothing: the questions stay, and so do the answers to them.

    Args:
        questions: (R,). All are put up before the waiting begins, so that several people answer side by side.
        timeout: seconds to wait for all of them together. where: the file, for the log.

    Returns:
        (R,) the answers to each question: fewer than its `raters`, or none, if the time was up.
    """
    people.ask(questions)
    answers: dict[tuple[str, bool], list[Feedback]] = {}
    missing, until, pause = list(questions), time.monotonic() + timeout, LOOKS[0]
    while True:
        answers |= {q.key: given for q, given in zip(missing, people.answers(missing), strict=True)}
        missing = [question for question in missing if len(answers[question.key]) < question.raters]
        left = until - time.monotonic()
        if not missing or left <= 0:
            return [answers[question.key][: question.raters] for question in questions]
        for interrupt in _interrupts:
            interrupt()
        if pause == LOOKS[0]:
            log.info("%d turns wait for people: dyngen serve --store %s, and open /rate", len(missing), where)
        time.sleep(min(pause, left))
        pause = min(1.5 * pause, LOOKS[1])


_interrupts: list[Callable[[], None]] = []


@contextmanager
def interrupted_by(check: Callable[[], None]) -> Iterator[None]:
    """Within this block `check` is called between two looks for answers; what it raises ends the waiting."""
    _interrupts.append(check)
    try:
        yield
    finally:
        _interrupts.remove(check)
