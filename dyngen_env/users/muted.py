"""A user whose words the agent cannot hear: what is left of feedback if only its rating counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dyngen_env.types import Dialogue, Example, Feedback
from dyngen_env.users.user import User


class MutedUser:
    """Rates and leaves exactly as `user` does, and says nothing: "muted(simulated)".

    An agent trained with it is blind to feedback; how much worse it does shows how much another one listens.
    """

    def __init__(self, user: User):
        self.user, self.answers = user, user.answers

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Any]:
        return self.user.begin(examples, rngs)

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return [Feedback("", answer.rating, answer.ends) for answer in self.user.reply(dialogues, rngs)]
