"""The protocol of a user, and the one who never answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from dyngen_env.scoring.people import Written
from dyngen_env.text.media import MediaRoom
from dyngen_env.text.media.room import declared_media
from dyngen_env.types import Dialogue, Example, Feedback


class User(Protocol):
    """Somebody who reads the agent's turns and answers them with words, a rating, or both.

    One object serves all rows of an env, and is asked only about rows whose turn has just ended. It has no state of its
    own: what it must remember is kept in the dialogue, and chance comes from the generators that are passed in. So an
    env can be forked, and a step that failed can be taken again.

    Attributes:
        answers: False for a user who never answers; then the end of the agent's turn is the end of the episode.
    """

    answers: bool

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Any]:
        """Begin R dialogues, and return for each what the user must remember of it: `Dialogue.persona`, of any kind.

        Args:
            examples: (R,), what the dialogues are begun with. rngs: (R,), a source of chance for each.
        """

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        """An answer to the last completion of each of R dialogues.

        Args:
            dialogues: (R,), with all turns so far and the persona. rngs: (R,), a source of chance for each, seeded by
                the episode and the number of the turn.
        """


class ComesBack(User, Protocol):
    """A user to whom it matters who was met in the episode before: they may be the same person again."""

    def begin_after(
        self, before: Sequence[Any], examples: Sequence[Example], rngs: Sequence[np.random.Generator]
    ) -> Sequence[Any]:
        """`begin`, given also `before` (R,): the persona of each row's last episode, None where there was none."""


class SeesTokens(User, Protocol):
    """A user who keeps what was answered beside the very tokens that it answers, for learners."""

    def reply_to_tokens(
        self,
        dialogues: Sequence[Dialogue],
        rngs: Sequence[np.random.Generator],
        written: Sequence[Written | None],
    ) -> Sequence[Feedback]:
        """`reply`, given also the tokens of the R turns."""


class CutsIn(User, Protocol):
    """A user who may answer before a turn has ended. That costs a look at the text of each row after each token.

    Attributes:
        cuts_in: True. With False, or without the attribute, the user waits for the end of each turn.
    """

    cuts_in: bool

    def cut_in(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback | None]:
        """What the user says amid the turn of each of R dialogues; None lets the agent go on.

        An answer ends the turn as it stands, and is an answer like any other: it may rate what there is of the turn,
        end the dialogue, or ask for another draft.

        Args:
            dialogues: (R,), of which the last completion is being written. rngs: (R,), a source of chance for each,
                seeded by the episode, the number of the turn and the number of tokens in it.
        """


def cuts_in(user: User) -> bool:
    """Whether a user may answer before a turn has ended (`CutsIn`)."""
    return bool(getattr(user, "cuts_in", False))


def most_drafts(user: User) -> int:
    """How often a turn may be written at most, as the user says by an attribute `drafts`; 1 if there is none."""
    return int(getattr(user, "drafts", 1))


def media_of_answer(user: User) -> MediaRoom:
    """Room for what an answer of a user may show.

    A user, or the one that they wrap (`user.user`), says it by an attribute `media`; without it none shows anything.

    Raises:
        ValueError: the attribute is no `MediaRoom`.
    """
    speaker: Any = user
    while not hasattr(speaker, "media") and hasattr(speaker, "user"):
        speaker = speaker.user
    return declared_media(speaker)


def begin_after(
    user: User, before: Sequence[Any], examples: Sequence[Example], rngs: Sequence[np.random.Generator]
) -> Sequence[Any]:
    """The personas of R new dialogues with any user: `before` is told to those who ask for it (`ComesBack`)."""
    asks = getattr(user, "begin_after", None)
    return user.begin(examples, rngs) if asks is None else asks(before, examples, rngs)


class Silent:
    """Nobody answers, so that an episode is a single turn of the agent. This is the default."""

    answers = False

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Any]:
        return [None] * len(examples)

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return [Feedback(ends=True)] * len(dialogues)
