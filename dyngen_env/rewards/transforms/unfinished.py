"""What a reward would pay if each row's turn ended here: the worth of a turn that is still being written."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.state import TokenState
from dyngen_env.rewards.base import Reward, payment
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Example, Feedback, Transition


def potential(reward: Reward, state: TokenState, playing: Sequence[Example], tokenizer: Tokenizer) -> torch.Tensor:
    """(B,) float64: what `reward` would pay if the turns of `state` ended as they are, and nobody answered.

    0 where the turn has no token yet, and where the episode is over. The turns are read anew at each call: that is a
    text, or a forward pass, for each token.

    Args:
        playing: (B,) what each row plays.
    """
    begun = state.live & (state.length > state.turn_start)
    rows = begun.nonzero().flatten().tolist()
    if not rows:
        return torch.zeros(len(state.length), dtype=torch.float64, device=state.length.device)
    texts = completion_texts(tokenizer, state, rows)
    examples, unheard = [playing[row] for row in rows], [Feedback()] * len(rows)
    last = state.tokens.gather(1, (state.length - 1).unsqueeze(1)).squeeze(1)
    ended_here = Transition(state, last, state, state, begun, rows, texts, examples, unheard, playing)
    return torch.where(begun, payment(reward, ended_here), 0.0)
