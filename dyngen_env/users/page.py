"""A person at a page in the browser, who reads each turn and answers it with words and a rating."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dyngen_env.arguments import between, file_name
from dyngen_env.scoring.people import FILE, People, Question, Written, ask_and_wait, people_in
from dyngen_env.types import Dialogue, Example, Feedback


class PageUser:
    """People who talk with the agent on the page of `dyngen serve`: `user="page('feedback.db')"`.

    Each turn of the agent waits in the file until somebody who has opened the page answers it, with words, a rating
    from -4 to +4, or both. The turns of all rows that have ended in a step wait together, so that several people can
    answer side by side. Whoever does not answer in time has said nothing. Answers are kept: the same dialogue is
    answered as it was before, and nobody is asked again.

    Args:
        file: the store of feedback, as for `dyngen serve --store`.
        timeout: how many seconds to wait for all answers of a step.
        people: where answers come from instead of the file.

    Raises:
        ValueError: arguments that cannot work.
    """

    answers = True
    asks_people = True

    def __init__(self, file: str = FILE, timeout: float = 600.0, people: People | None = None):
        file_name("page with file", file)
        between("page with timeout", timeout, 0)
        self.file, self.timeout, self._people = file, timeout, people

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[None]:
        return [None] * len(examples)

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return self.reply_to_tokens(dialogues, rngs, [None] * len(dialogues))

    def reply_to_tokens(
        self,
        dialogues: Sequence[Dialogue],
        rngs: Sequence[np.random.Generator],
        written: Sequence[Written | None],
    ) -> Sequence[Feedback]:
        """See `users.user.SeesTokens`."""
        people = self._people or people_in(self.file)
        asked = [Question(talk, reply=True, written=ids) for talk, ids in zip(dialogues, written, strict=True)]
        wanted = [question for question in asked if question.counts]
        answers = iter(ask_and_wait(people, wanted, self.timeout, self.file))
        given = [next(answers) if question.counts else [] for question in asked]
        return [answer[0] if answer else Feedback() for answer in given]
