"""What a reward would pay if each row's turn ended here: the potential of a turn that is still being written."""

from __future__ import annotations

import torch

from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.state import TokenState
from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import payment
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Feedback, Transition


def potential(reward: Reward, state: TokenState, step: Transition, tokenizer: Tokenizer) -> torch.Tensor:
    """What a reward would pay if the turns of a state ended as they stand and nobody answered, as float64 (B,).

    It is 0 where the turn has no token yet, and where the episode is over. Each call scores the turns anew, which costs
    a decoded text, or a forward pass of a model, for each token that is written.

    Args:
        state: `step.before` or `step.after`. step: the transition, which knows the prompts and the dialogues.
        tokenizer: to decode the turns.
    """
    begun = state.live & (state.length > state.turn_start)
    rows = begun.nonzero().flatten().tolist()
    if not rows:
        return torch.zeros(len(state.length), dtype=torch.float64, device=state.length.device)
    texts = completion_texts(tokenizer, state, rows)
    talks = [step.talks[row] for row in rows]
    ended_here = Transition(
        before=state,
        actions=state.tokens.gather(1, (state.length - 1).unsqueeze(1)).squeeze(1),
        spoken=state,
        after=state,
        turn_ended=begun,
        rows=rows,
        completions=texts,
        examples=[step.playing[row] for row in rows],
        feedback=[Feedback()] * len(rows),
        dialogues=[talk and talk.said(text) for talk, text in zip(talks, texts, strict=True)],
        playing=step.playing,
        talks=step.talks,
    )
    return torch.where(begun, payment(reward, ended_here), 0.0)
