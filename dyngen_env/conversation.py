"""What happens between two turns of the agent: users read what it said, and answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dyngen_env import mdp
from dyngen_env.seeding import stream_generator
from dyngen_env.structs import GOAL, LENGTH, LIVE, STOP, TURNS, USER, Dialogue, Feedback, TokenState
from dyngen_env.tokenizer import Tokenizer
from dyngen_env.users import User

QUIET = Feedback()


class Conversation:
    """A user who answers, in the agent's language. It keeps no state of the dialogues."""

    def __init__(self, user: User, tokenizer: Tokenizer, max_turns: int):
        self.user, self.tokenizer, self.max_turns = user, tokenizer, max_turns

    def begin(self, examples: Sequence, seeds: np.ndarray) -> list[Dialogue | None]:
        """The dialogues of new episodes with these seeds; None where nobody will answer."""
        if not self.user.answers:
            return [None] * len(examples)
        personas = self.user.begin(examples, [stream_generator(seed, "user", 0) for seed in seeds])
        return [Dialogue(e, p) for e, p in zip(examples, personas, strict=True)]

    def go_on(
        self,
        spoken: TokenState,
        rows: list[int],
        said: Sequence[str],
        dialogues: Sequence[Dialogue | None],
        seeds: np.ndarray,
    ) -> tuple[TokenState, list[Feedback], list[Dialogue | None]]:
        """Ask the users of `rows` (R,), whose turn ended, and append their words. An illegal token, or a context that
        is full, ends a dialogue unheard.

        Returns the state, and what each of the rows (R,) heard and its dialogue has become.
        """
        feedback = [QUIET] * len(rows)
        if not self.user.answers or not rows:
            return spoken, feedback, [None] * len(rows)
        talks = [talk.said(text) for talk, text in zip(dialogues, said, strict=True) if talk is not None]
        finish = spoken.finish.tolist()
        asked = [i for i, row in enumerate(rows) if finish[row] in (STOP, LENGTH)]
        if not asked:
            return spoken, feedback, [*talks]
        answers = self._ask([talks[i] for i in asked], [seeds[i] for i in asked])
        lengths = spoken.length.tolist()
        words, ends = [], []
        for i, answer in zip(asked, answers, strict=True):
            feedback[i], talks[i] = answer, talks[i].heard(answer)
            last = int(spoken.tokens[rows[i], lengths[rows[i]] - 1])
            words.append(self.tokenizer.encode_reply(answer.text, last))
            ends.append(self._end(talks[i], answer))
        return _hear(spoken, [rows[i] for i in asked], words, ends), feedback, [*talks]

    def _ask(self, talks: list[Dialogue], seeds: list[int]) -> Sequence[Feedback]:
        rngs = [stream_generator(seed, "user", len(talk.completions)) for seed, talk in zip(seeds, talks, strict=True)]
        answers = self.user.reply(talks, rngs)
        if len(answers) != len(talks):
            raise ValueError(
                f"{type(self.user).__name__}.reply gave {len(answers)} answers to {len(talks)} dialogues: "
                "expected one each"
            )
        return answers

    def _end(self, talk: Dialogue, answer: Feedback) -> int:
        if answer.ends:
            return GOAL if answer.ends == "goal" else USER
        return TURNS if len(talk.completions) >= self.max_turns else LIVE


def _hear(spoken: TokenState, rows: list[int], words: list[list[int]], ends: list[int]) -> TokenState:
    """`mdp.hear` of words given as lists."""
    device = spoken.tokens.device
    padded = torch.zeros(len(words), max(1, *map(len, words)), dtype=torch.int64)
    for i, ids in enumerate(words):
        padded[i, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
    counts = torch.tensor([len(ids) for ids in words], device=device)
    return mdp.hear(
        spoken, torch.tensor(rows, device=device), padded.to(device), counts, torch.tensor(ends, device=device)
    )
