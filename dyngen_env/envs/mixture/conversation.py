"""Who answers in the rows of a mixture: each task has a conversation of its own, with its own user and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from dyngen_env.envs.conversation import QUIET, Answers, Conversation
from dyngen_env.mdp.state import TokenState
from dyngen_env.types import Dialogue, Example, Feedback
from dyngen_env.users import User
from dyngen_env.users.user import cuts_in, most_drafts

Item = TypeVar("Item")


class UsersOfTasks:
    """What is known of the users of several tasks together.

    Attributes:
        users: by task. answers: whether somebody answers in one of them. cuts_in: whether somebody may interrupt.
        drafts: how often a turn may be written, at most. asks_people: whether one of them asks people.
    """

    def __init__(self, users: Mapping[str, User]):
        everybody = users.values()
        self.users = dict(users)
        self.answers = any(user.answers for user in everybody)
        self.cuts_in = any(map(cuts_in, everybody))
        self.drafts = max(map(most_drafts, everybody))
        self.asks_people = any(map(_asks_people, everybody))


def _asks_people(user: Any) -> bool:
    while hasattr(user, "user"):  # one who changes another
        user = user.user
    return bool(getattr(user, "asks_people", False))


class MixedConversation:
    """Asks about each turn the user of the task that the row plays. The methods are those of `Conversation`.

    A row has a `Dialogue` if its task has a user who answers; where it has none, the end of the turn is that of the
    episode.

    Args:
        conversations: by task.
    """

    def __init__(self, conversations: Mapping[str, Conversation]):
        self.conversations = conversations

    def begin(
        self, examples: Sequence[Example], seeds: np.ndarray, before: Sequence[Dialogue | None]
    ) -> list[Dialogue | None]:
        """See `Conversation.begin`. A user who comes back does so if the row has played the same task before."""
        begun: list[Dialogue | None] = [None] * len(examples)
        for task, at in _by_task(examples):
            known = [talk if talk and talk.example.task == task else None for talk in _of(before, at)]
            talks = self.conversations[task].begin(_of(examples, at), seeds[at], known)
            for i, talk in zip(at, talks, strict=True):
                begun[i] = talk
        return begun

    def cut_in(
        self,
        spoken: TokenState,
        rows: list[int],
        texts: Sequence[str],
        dialogues: Sequence[Dialogue | None],
        seeds: np.ndarray,
    ) -> tuple[TokenState, dict[int, Feedback]]:
        """See `Conversation.cut_in`."""
        said = dict[int, Feedback]()
        for task, at in _by_task([None if talk is None else talk.example for talk in dialogues]):
            conversation = self.conversations[task]
            if cuts_in(conversation.user):
                talks = [talk for talk in _of(dialogues, at) if talk is not None]
                spoken, more = conversation.cut_in(spoken, _of(rows, at), _of(texts, at), talks, seeds[at])
                said |= more
        return spoken, said

    def go_on(
        self,
        spoken: TokenState,
        rows: list[int],
        texts: Sequence[str],
        dialogues: Sequence[Dialogue | None],
        seeds: np.ndarray,
        said: Mapping[int, Feedback],
    ) -> Answers:
        """See `Conversation.go_on`."""
        state, feedback, talks = spoken, [QUIET] * len(rows), list[Dialogue | None]([None] * len(rows))
        cut, drafts = list[int](), list[int]()
        for task, at in _by_task([None if talk is None else talk.example for talk in dialogues]):
            of_rows = _of(rows, at)
            mine = {row: said[row] for row in of_rows if row in said}
            go_on = self.conversations[task].go_on
            answers = go_on(state, of_rows, _of(texts, at), _of(dialogues, at), seeds[at], mine)
            state = answers.state
            for i, one, talk in zip(at, answers.feedback, answers.dialogues, strict=True):
                feedback[i], talks[i] = one, talk
            cut, drafts = cut + answers.cut, drafts + answers.drafts
        return Answers(state, feedback, talks, sorted(cut), drafts)


def _by_task(examples: Sequence[Example | None]) -> Iterator[tuple[str, list[int]]]:
    """The tasks of examples, in the order of their first ones, and where each has its own; None belongs to nobody."""
    places: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        if example is not None and example.task is not None:
            places.setdefault(example.task, []).append(i)
    return iter(places.items())


def _of(items: Sequence[Item], at: Sequence[int]) -> list[Item]:
    return [items[i] for i in at]
