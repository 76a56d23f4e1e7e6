"""A user whose words are withheld from the agent: the control for whether an agent makes use of what users say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dyngen_env.types import Dialogue, Example, Feedback
from dyngen_env.users.user import User, begin_after, cuts_in, most_drafts


class MutedUser:
    """Another user who rates and leaves as before but says nothing: "muted(simulated)".

    An agent that was trained with it cannot have learned to listen. How much better an agent does that was trained with
    `user` itself shows what the words were worth.

    Args:
        user: the user to be muted.
    """

    def __init__(self, user: User):
        self.user, self.answers, self.cuts_in = user, user.answers, cuts_in(user)
        self.drafts = most_drafts(user)

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Any]:
        return self.user.begin(examples, rngs)

    def begin_after(
        self, before: Sequence[Any], examples: Sequence[Example], rngs: Sequence[np.random.Generator]
    ) -> Sequence[Any]:
        """See `users.user.ComesBack`."""
        return begin_after(self.user, before, examples, rngs)

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return [replace(answer, text="") for answer in self.user.reply(dialogues, rngs)]

    def cut_in(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback | None]:
        """See `users.user.CutsIn`."""
        answers = self.user.cut_in(dialogues, rngs)  # type: ignore[attr-defined]
        return [answer and replace(answer, text="") for answer in answers]
