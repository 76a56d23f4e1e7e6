"""A user who comes back: the same person in several episodes of a row, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dyngen_env.types import Dialogue, Example, Feedback, Visit
from dyngen_env.users.user import User, begin_after, cuts_in, most_drafts


class ReturningUser:
    """Another user who stays the same person, with the same wishes, for several episodes of a row:
    "returning(simulated, episodes=3)". Then somebody else comes.

    What is said and rated in an episode is not known to the person in the next: they remember what they want, not what
    they were told. Who remembers is the agent, if it can. `Dialogue.person` and `info["person"]` say who it is, a
    number that no other person has, `Dialogue.visit` and `info["visit"]` which of their episodes, from 1 on; an info
    has them where an episode begins and where it ends. An episode that is broken off by `reset` was a visit, too. A row
    that is reset with a seed begins with somebody new.

    Args:
        user: who comes back.
        episodes: how often each person comes.

    Raises:
        ValueError: episodes is not a whole number from 1 on.
    """

    def __init__(self, user: User, episodes: int = 3):
        if not isinstance(episodes, int) or isinstance(episodes, bool) or episodes < 1:
            raise ValueError(f"episodes={episodes!r}: expected how often each person comes, a whole number from 1 on")
        self.user, self.episodes = user, episodes
        self.answers, self.cuts_in = user.answers, cuts_in(user)
        self.drafts = most_drafts(user)

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Visit]:
        return self.begin_after([None] * len(examples), examples, rngs)

    def begin_after(
        self, before: Sequence[Any], examples: Sequence[Example], rngs: Sequence[np.random.Generator]
    ) -> Sequence[Visit]:
        """See `users.user.ComesBack`."""
        again = [visit is not None and visit.number < self.episodes for visit in before]
        visits = [replace(v, number=v.number + 1) if back else None for v, back in zip(before, again, strict=True)]
        new = [i for i, back in enumerate(again) if not back]
        if new:
            personas = begin_after(self.user, [None] * len(new), [examples[i] for i in new], [rngs[i] for i in new])
            for i, persona in zip(new, personas, strict=True):
                visits[i] = Visit(int(rngs[i].integers(2**53)), 1, persona)  # a double holds the number exactly
        return visits  # type: ignore[return-value]  # none is None

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return self.user.reply(_with_personas(dialogues), rngs)

    def cut_in(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback | None]:
        """See `users.user.CutsIn`."""
        return self.user.cut_in(_with_personas(dialogues), rngs)  # type: ignore[attr-defined]


def _with_personas(dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    """The dialogues as the user sees them who does not know of visits."""
    return [replace(talk, persona=talk.persona.persona) for talk in dialogues]
