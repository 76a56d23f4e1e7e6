"""What happens between two turns of the agent: a user reads what it wrote and answers, in tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from dyngen_env import mdp
from dyngen_env.envs.media import ShownMedia
from dyngen_env.envs.seeding import stream_generator
from dyngen_env.mdp.state import CONTEXT, GOAL, LENGTH, LIVE, STOP, TURNS, USER, TokenState
from dyngen_env.scoring.people import written
from dyngen_env.text.media.tokens import message
from dyngen_env.text.padding import pad_rows
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Dialogue, Feedback
from dyngen_env.users import User
from dyngen_env.users.user import begin_after

QUIET = Feedback()
MOST_TOKENS = 2**32  # more than a turn has


class Answers(NamedTuple):
    """What users have answered in R rows whose turn had ended."""

    state: TokenState  # of all B rows, with the answers
    feedback: list[Feedback]  # (R,)
    dialogues: list[Dialogue | None]  # (R,) with the turns and the answers; None where nobody answers
    cut: list[int]  # rows that had to drop their oldest turns, or a draft
    drafts: list[int]  # rows whose turn was sent back: it goes on


class Conversation:
    """Asks a user about the agent's turns and appends what they say to the context.

    It remembers nothing of the dialogues: they are passed in and out. Where the user never answers, every turn is the
    last one of its episode.

    Args:
        user: who answers; `users.Silent` is nobody.
        tokenizer: turns the user's words into tokens, with those that close the agent's turn and open its next one.
        max_turns: how many turns the agent has in an episode, at most.
        rating_tokens: whether the user's rating stands before their words, as a control token.
        words_in_context: whether the user's words are appended to the context, or an empty turn of theirs.
        reserve_tokens: before each turn of the agent, drop the oldest turns until this many tokens are free. None
            never drops any.
        hide_drafts: whether a turn that the user sends back is taken out of the context.
        media: makes the tokens of what users show, which stand before their words.
    """

    def __init__(
        self,
        user: User,
        tokenizer: Tokenizer,
        *,
        max_turns: int,
        rating_tokens: bool = False,
        words_in_context: bool = True,
        reserve_tokens: int | None = None,
        hide_drafts: bool = False,
        media: ShownMedia,
    ):
        self.user, self.tokenizer, self.max_turns, self.media = user, tokenizer, max_turns, media
        self.rating_tokens, self.reserve_tokens, self.hide_drafts = rating_tokens, reserve_tokens, hide_drafts
        self.words_in_context = words_in_context

    def begin(self, examples: Sequence, seeds: np.ndarray, before: Sequence[Dialogue | None]) -> list[Dialogue | None]:
        """The dialogues of new episodes about R examples.

        Args:
            seeds: (R,) uint64, of the episodes; users draw their personas from them.
            before: (R,) the last dialogues of the same rows, for users who come back; None where there is none.

        Returns:
            (R,) dialogues in which nothing has been said; None where nobody answers.
        """
        if not self.user.answers:
            return [None] * len(examples)
        examples = list(examples)
        known = [talk and talk.persona for talk in before]
        personas = begin_after(self.user, known, examples, [stream_generator(seed, "user", 0) for seed in seeds])
        return [Dialogue(e, p) for e, p in zip(examples, personas, strict=True)]

    def cut_in(
        self,
        spoken: TokenState,
        rows: list[int],
        texts: Sequence[str],
        dialogues: Sequence[Dialogue],
        seeds: np.ndarray,
    ) -> tuple[TokenState, dict[int, Feedback]]:
        """What users say amid a turn, by row, and the state in which these turns have ended. For users who may do so.

        Args:
            spoken: the state of B rows after the agent's tokens.
            rows: (R,) in which a turn is being written. texts: (R,) what there is of it. dialogues: (R,) before it.
            seeds: (R,) uint64, of the episodes.
        """
        talks = [talk.said(text) for talk, text in zip(dialogues, texts, strict=True)]
        lengths = (spoken.length - spoken.turn_start).tolist()
        at = [len(talk.completions) * MOST_TOKENS + lengths[row] for talk, row in zip(talks, rows, strict=True)]
        rngs = [stream_generator(seed, "cut in", part) for seed, part in zip(seeds, at, strict=True)]
        answers = self.user.cut_in(talks, rngs) if rows else []  # type: ignore[attr-defined]
        self._check_number("cut_in", answers, talks)
        said = {row: answer for row, answer in zip(rows, answers, strict=True) if answer is not None}
        if not said:
            return spoken, said
        finish = spoken.finish.clone()
        finish[list(said)] = USER
        return replace(spoken, finish=finish), said

    def go_on(
        self,
        spoken: TokenState,
        rows: list[int],
        texts: Sequence[str],
        dialogues: Sequence[Dialogue | None],
        seeds: np.ndarray,
        said: Mapping[int, Feedback],
    ) -> Answers:
        """What users answer to turns that have ended. Nobody answers a turn that an illegal token or a full context
        has ended: its dialogue is over.

        Args:
            spoken: the state of B rows after the agent's tokens.
            rows: (R,) whose turn has just ended.
            texts: (R,) what the agent wrote in these turns.
            dialogues: (R,) before these turns.
            seeds: (R,) uint64, of the episodes; users draw what they say from them.
            said: by row, the answers of those who have given them already: they interrupted the turn.

        Raises:
            ValueError: the user gives another number of answers than there are dialogues.
        """
        feedback = [QUIET] * len(rows)
        if not self.user.answers or not rows:
            return Answers(spoken, feedback, [None] * len(rows), [], [])
        talks = [talk.said(text) for talk, text in zip(dialogues, texts, strict=True) if talk is not None]
        finish = spoken.finish.tolist()
        asked = [i for i, row in enumerate(rows) if row not in said and finish[row] in (STOP, LENGTH)]
        heard = [i for i, row in enumerate(rows) if row in said or finish[row] in (STOP, LENGTH)]
        if not heard:
            return Answers(spoken, feedback, [*talks], [], [])
        said_to = [rows[i] for i in asked]
        replies = self._ask([talks[i] for i in asked], [seeds[i] for i in asked], spoken, said_to)
        answers = dict(zip(asked, replies, strict=True))
        for i in heard:
            feedback[i] = said[rows[i]] if rows[i] in said else answers[i]
            talks[i] = talks[i].heard(feedback[i])
        back = [rows[i] for i in heard if feedback[i].revise]
        hidden = back if self.hide_drafts else []
        kept = mdp.take_back(spoken, _index(hidden, spoken)) if hidden else spoken
        lengths, words, ends = kept.length.tolist(), [], []
        for i in heard:
            last = int(kept.tokens[rows[i], lengths[rows[i]] - 1])
            words.append(self._words(feedback[i], last))
            ends.append(self._end(talks[i], feedback[i]))
        where, forgot = [rows[i] for i in heard], list[int]()
        if self.reserve_tokens is not None:
            kept, forgot = self._forget(kept, where, words, ends, self.reserve_tokens)
        after = _hear(kept, where, words, ends)
        drafts = [row for row, live in zip(back, after.live[back].tolist(), strict=True) if live] if back else []
        lost = [row for row in hidden if row not in drafts]  # no room for another: the turn is what was written
        if lost:
            after = mdp.put(after, _index(lost, after), _out_of_room(mdp.fork(spoken, _index(lost, after))))
        return Answers(after, feedback, [*talks], sorted({*hidden, *forgot} - {*lost}), drafts)

    def _words(self, answer: Feedback, last: int) -> list[int]:
        """The tokens of an answer, after the last token of the agent's turn."""
        rated = (answer.rating,) if self.rating_tokens and answer.rating is not None else ()

        def encode(text: str) -> list[int]:
            return self.tokenizer.encode_reply(text, last, *rated)

        self.media.of_answer.check(answer.media)
        return message(encode, answer.text if self.words_in_context else "", answer.media, self.media.places)

    def _forget(
        self, spoken: TokenState, rows: list[int], words: list[list[int]], ends: list[int], reserve: int
    ) -> tuple[TokenState, list[int]]:
        """`spoken` without the oldest turns of those rows whose context cannot hold what comes next; and these rows."""
        where = torch.tensor(rows, device=spoken.tokens.device)
        chosen, lengths = mdp.fork(spoken, where).completion_mask.tolist(), spoken.length[where].tolist()
        width = spoken.tokens.shape[1]
        cuts = []
        for mask, length, ids, end in zip(chosen, lengths, words, ends, strict=True):
            start, count = oldest_turns(mask, length + len(ids) + reserve - width)
            useful = end == LIVE and length - count + len(ids) < width  # else the episode ends in this step anyhow
            cuts.append((start, count) if useful else (0, 0))
        starts, counts = torch.tensor(cuts, device=where.device).unbind(1)
        return mdp.forget(spoken, where, starts, counts), [row for row, (_, cut) in zip(rows, cuts, strict=True) if cut]

    def _ask(self, talks: list[Dialogue], seeds: list[int], spoken: TokenState, rows: list[int]) -> Sequence[Feedback]:
        rngs = [stream_generator(seed, "user", len(talk.completions)) for seed, talk in zip(seeds, talks, strict=True)]
        with_tokens = getattr(self.user, "reply_to_tokens", None)
        if not talks:
            answers: Sequence[Feedback] = []
        elif with_tokens is None:
            answers = self.user.reply(talks, rngs)
        else:
            answers = with_tokens(talks, rngs, written(spoken, rows))
        self._check_number("reply", answers, talks)
        return answers

    def _check_number(self, method: str, answers: Sequence[Any], talks: list[Dialogue]) -> None:
        if len(answers) != len(talks):
            raise ValueError(
                f"{type(self.user).__name__}.{method} gave {len(answers)} answers to {len(talks)} dialogues: "
                "expected one each"
            )

    def _end(self, talk: Dialogue, answer: Feedback) -> int:
        if answer.ends:
            return GOAL if answer.ends == "goal" else USER
        return TURNS if talk.turns >= self.max_turns and not answer.revise else LIVE


def oldest_turns(chosen: Sequence[bool], excess: int) -> tuple[int, int]:
    """Which tokens of a row to drop so that at least `excess` become free: as few of its oldest turns as possible.

    A turn is dropped together with the user's answer to it. What stands before the first turn is kept, and so is the
    last turn, even if too few tokens become free.

    Args:
        chosen: (L,) bool, the row's `completion_mask`: True where the agent chose the token.
        excess: how many tokens must become free; none if it is not above 0.

    Returns:
        The position of the first token to drop, and how many there are.
    """
    begins = [i for i, mine in enumerate(chosen) if mine and not chosen[i - 1]]  # chosen[0] never is the agent's
    if excess <= 0 or len(begins) < 2:
        return 0, 0
    first, last = begins[0], begins[-1]
    end = next((begin for begin in begins[1:] if begin - first >= excess), last)
    return first, end - first


def _index(rows: list[int], like: TokenState) -> torch.Tensor:
    return torch.tensor(rows, device=like.length.device)


def _out_of_room(state: TokenState) -> TokenState:
    return replace(state, finish=torch.full_like(state.finish, CONTEXT))


def _hear(spoken: TokenState, rows: list[int], words: list[list[int]], ends: list[int]) -> TokenState:
    """`mdp.hear` of words given as lists."""
    device = spoken.tokens.device
    padded = pad_rows(words, max(1, *map(len, words)))
    counts = torch.tensor([len(ids) for ids in words], device=device)
    return mdp.hear(
        spoken, torch.tensor(rows, device=device), padded.to(device), counts, torch.tensor(ends, device=device)
    )
