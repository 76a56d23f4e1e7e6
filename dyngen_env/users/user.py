"""The protocol of a user, and the one who never answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from dyngen_env.types import Dialogue, Example, Feedback


class User(Protocol):
    """Somebody who reads the agent's turns and reacts. Batched: only rows whose turn just ended are asked.

    `answers` is False for a user who never says anything: then the end of a turn is the end of the episode.
    A user keeps nothing to itself: what it must remember is in the dialogue, chance comes from `rngs`. So an env can
    be forked, and a step that failed can be taken again.
    """

    answers: bool

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Any]:
        """The personas of new dialogues: whatever the user must remember, kept in `Dialogue.persona`."""

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        """An answer to the last completion of each dialogue. `rngs[i]` is this turn's part of its `user` stream."""


class Silent:
    """Nobody: single-turn generation is a dialogue with a user who never answers."""

    answers = False

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Any]:
        return [None] * len(examples)

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return [Feedback(ends=True)] * len(dialogues)
