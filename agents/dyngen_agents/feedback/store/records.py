"""What the store holds, as frozen records: people, models, dialogues, turns, feedback, and tasks that wait for raters.

The `id` of a record is its number in this one file. The `key` of a dialogue, a turn or a feedback is a text that stays
the same in every file it is exported to, and by which a second attempt to store the same thing is recognised.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class NotInStore(ValueError):
    """There is no record of that id in the store."""


@dataclass(frozen=True, slots=True)
class ModelStamp:
    """Which weights wrote a turn.

    Attributes:
        name: as for `load_model`, or a run's folder. fingerprint: `dyngen_env.lm.loading.fingerprint` of its files.
        version: of weights that change while they serve: the name of an adapter or of a step of training.
    """

    name: str
    fingerprint: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who talks or rates, known by a pseudonym alone. `created` is in seconds since 1970, UTC, everywhere."""

    id: int
    name: str
    created: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A dialogue, or a single completion of a prompt.

    Attributes:
        person: who talks; None for what a run has written by itself.
        model: which model it began with; each of the agent's turns has its own stamp.
        settings: whatever else belongs to it as JSON: the system prompt, the environment, where it was imported from.
        opening: the prompt, if the dialogue does not begin with somebody's turn.
    """

    id: int
    key: str
    person: Person | None
    model: ModelStamp | None
    settings: dict[str, Any]
    opening: str
    created: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said in one place of a dialogue. Dialogues are trees: several turns may have the same parent.

    Attributes:
        dialogue: id. role: "agent" or "user".
        text: as people saw it.
        tokens: the ids that the behaviour policy sampled; None where nobody knows.
        logprobs: their log-probs under `sampling` in that policy, nats, one for each token.
        context: the ids that the policy had read before this turn.
        sampling: temperature and the like, as JSON.
        model: which weights wrote it; None for a user's turn.
        parent: id of the turn that it follows; None at the beginning.
        replaces: id of the draft that it revises; it has the same parent as that.
    """

    id: int
    key: str
    dialogue: int
    role: str
    text: str
    tokens: tuple[int, ...] | None
    logprobs: tuple[float, ...] | None
    context: tuple[int, ...] | None
    sampling: dict[str, Any]
    model: ModelStamp | None
    parent: int | None
    replaces: int | None
    created: float


@dataclass(frozen=True, slots=True)
class StoredFeedback:
    """What a person said about one or more turns; see `values` for what each kind has as `turns` and `value`.

    Attributes:
        turns: ids. key: of the client that sent it, unique for this person.
        extra: whatever else belongs to it as JSON: how long it took, the order in which texts were shown, margins.
    """

    id: int
    key: str
    kind: str
    person: Person
    turns: tuple[int, ...]
    value: Any
    extra: dict[str, Any]
    created: float


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be rated: `kind` of feedback about `turns`, by as many different people as `raters`.

    Attributes:
        answers: how many people have answered. leased: how many others have it before them now.
    """

    id: int
    kind: str
    turns: tuple[int, ...]
    raters: int
    priority: float
    source: str
    created: float
    answers: int
    leased: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A task that one person has before them until `expires`, when others may get it."""

    id: int
    task: Task
    person: Person
    expires: float
