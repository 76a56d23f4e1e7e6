"""Which episodes ended in a step, and whether anything may follow: what has been paid is final.

An episode that ends with a turn has been paid for it, so it is terminated whatever ended the turn, a full context or a
token budget included: nobody acts in its last state, so no value was ever learned for it, and to add one to what was
paid would count the turn twice. Only a cut amid a turn, or between two turns, is truncated alone: there the agent would
have gone on, and a learner may count on the value of the last state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from dyngen_env.envs.infos import Ends, LazySequence
from dyngen_env.envs.parts import EnvParts
from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.state import CONTEXT, LENGTH, LIVE, STEPS, TokenState
from dyngen_env.text.media import Medium
from dyngen_env.types import Dialogue, Example


class Endings(NamedTuple):
    """What became of B rows in a step."""

    state: TokenState  # in which rows that were cut off have finished, too
    terminated: torch.Tensor  # (B,) bool, ended with a turn that has been paid: nothing follows
    truncated: torch.Tensor  # (B,) bool, cut off by a limit; learners bootstrap where this is True and the other False
    ended: np.ndarray  # (B,) bool, either of the two


def endings(state: TokenState, turns: np.ndarray, late: np.ndarray, budget_cuts: bool) -> Endings:
    """How the episodes of B rows ended in the step that led to `state`. Rows that go on are read nowhere.

    Args:
        turns: (R,) rows whose turn ended in this step; elsewhere no end but that of `late` is possible.
        late: (R',) rows that have taken the last step that they may take. As under Gymnasium's `TimeLimit` they are
            truncated, and terminated as well if their last turn ended in that step.
        budget_cuts: whether an episode that a used-up token budget has ended is truncated, too. One that a full context
            has ended always is.
    """
    terminated, truncated = np.zeros((2, len(state.finish)), dtype=bool)
    if len(turns):
        finish = state.finish[torch.from_numpy(turns).to(state.finish.device)].numpy(force=True)
        terminated[turns] = finish != LIVE
        truncated[turns] = (finish == CONTEXT) | (finish == LENGTH) if budget_cuts else finish == CONTEXT
    if len(late):
        truncated[late] = True
        cut_off = torch.from_numpy(truncated).to(state.finish.device)
        state = replace(state, finish=torch.where(cut_off & state.live, STEPS, state.finish))
    ended, cut = (torch.from_numpy(part).to(state.finish.device) for part in (terminated, truncated))
    return Endings(state, ended, cut, terminated | truncated)


def ended_episodes(
    parts: EnvParts,
    state: TokenState,
    ended: np.ndarray,
    turns: np.ndarray,
    completions: Sequence[str],
    examples: np.ndarray,
    talks: np.ndarray,
    paid: torch.Tensor,
) -> Ends:
    """The episodes that ended in a step: in rows whose turn ended, and in rows that were cut off amid a turn.

    Args:
        state: of B rows, after the step.
        ended: (B,) bool, where an episode ended.
        turns: (R,) rows whose turn ended.
        completions: (R,) what was written in these turns.
        examples: (B,) what the episodes were about.
        talks: (B,) the dialogues, these turns included; None where nobody answers.
        paid: (B, K) what each term of the reward has paid in the episode.
    """
    of_turns = ended[turns].nonzero()[0].tolist()
    amid_turn = ended.copy()
    amid_turn[turns] = False
    cut_off = amid_turn.nonzero()[0].tolist()
    unfinished = LazySequence(len(cut_off), lambda: completion_texts(parts.tokenizer, state, cut_off, parts.stop))
    texts = LazySequence(len(of_turns) + len(cut_off), lambda: [*(completions[i] for i in of_turns), *unfinished])
    dialogues: list[Dialogue | None] = []
    if parts.user.answers:
        dialogues += talks[turns[of_turns]].tolist()
        dialogues += [talk and talk.said(text) for talk, text in zip(talks[cut_off], unfinished, strict=True)]
    rows = np.concatenate([turns[of_turns], np.array(cut_off, dtype=turns.dtype)])
    tasks, belongs = parts.ledger.tasks, None
    if any(tasks):  # of terms: each is told of the rows that play its task
        played = np.array([example.task for example in examples], dtype=object)[:, None]
        belongs = (played == np.array(tasks, dtype=object)) | np.array([task is None for task in tasks])
    return Ends(
        rows=rows,
        ended=ended,
        finish=state.finish,
        texts=texts,
        dialogues=dialogues,
        paid=paid,
        names=parts.ledger.names,
        implied=parts.ledger.implied,
        media=[shown(examples[row], talks[row]) for row in rows.tolist()] if parts.media.room else [],
        belongs=belongs,
    )


def shown(example: Example, talk: Dialogue | None) -> tuple[Medium, ...]:
    """What an episode has shown, in order: what its example shows, and what the user did."""
    answers = () if talk is None else talk.feedback
    return (*example.media, *(medium for answer in answers for medium in answer.media))
