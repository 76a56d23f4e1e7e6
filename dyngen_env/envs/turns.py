"""What became of the turns that ended in a step: users answer them, and what was said is put before the rewards.

A user may send a turn back (`Feedback.revise`): then it was a draft, and has not ended the turn. Nothing is paid for
it, and it is no turn to `max_turns`. What rewards are shown of a step, a `Transition`, has no drafts among its turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dyngen_env.envs.conversation import Answers
from dyngen_env.envs.infos import LazySequence
from dyngen_env.envs.parts import EnvParts
from dyngen_env.envs.row_state import RowState
from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.state import TokenState
from dyngen_env.types import Feedback, Transition

NOTHING_SAID: dict[int, Feedback] = {}


def cut_in(
    parts: EnvParts, old: RowState, spoken: TokenState, turns: np.ndarray
) -> tuple[TokenState, np.ndarray, dict[int, Feedback]]:
    """Users who may interrupt look at the turns that are being written.

    Args:
        spoken: the state of B rows after the agent's tokens. turns: (R,) rows whose turn these tokens have ended.

    Returns:
        the state in which the turns of those who were interrupted have ended, too; the rows of all ended turns, in
        order; and by row what was said to those who were interrupted.
    """
    writing = ~old.ended
    writing[turns] = False
    rows = writing.nonzero()[0]
    texts = completion_texts(parts.tokenizer, spoken, rows.tolist(), parts.stop)
    spoken, said = parts.conversation.cut_in(
        spoken, rows.tolist(), texts, old.dialogues[rows].tolist(), old.episode_seeds[rows]
    )
    return spoken, np.sort(np.concatenate([turns, np.array(list(said), dtype=turns.dtype)])), said


def answered(
    parts: EnvParts,
    old: RowState,
    before: TokenState,
    tokens: torch.Tensor,
    spoken: TokenState,
    turns: np.ndarray,
    said: dict[int, Feedback] = NOTHING_SAID,
) -> tuple[Transition, Answers, Sequence[str]]:
    """Users answer the turns that ended, and the step is complete.

    Args:
        before: the state s of B rows. tokens: (B,) a. spoken: after the agent's tokens.
        turns: (R,) rows whose turn ended, drafts included.
        said: by row, what users have said already who interrupted.

    Returns:
        the transition as rewards see it, without drafts; the answers to all R turns; and these turns' texts (R,).
    """
    rows = turns.tolist()
    texts = LazySequence(len(rows), lambda: completion_texts(parts.tokenizer, spoken, rows, parts.stop))
    answers = parts.conversation.go_on(
        spoken, rows, texts, old.dialogues[turns].tolist(), old.episode_seeds[turns], said
    )
    transition = Transition(
        before=before,
        actions=tokens,
        spoken=spoken,
        after=answers.state,
        turn_ended=spoken.finish != before.finish,
        rows=rows,
        completions=texts,
        examples=old.examples[turns].tolist(),
        feedback=answers.feedback,
        dialogues=answers.dialogues,
        playing=LazySequence(len(old.ended), old.examples.tolist),
        talks=LazySequence(len(old.ended), old.dialogues.tolist),
    )
    if answers.drafts:
        transition = transition.with_turns([i for i, row in enumerate(rows) if row not in answers.drafts])
    return transition, answers, texts
