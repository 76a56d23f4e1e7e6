"""What an agent observes of a state: its tokens, a dict of inputs for language models, or its text."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import CustomSpaceError
from gymnasium.vector.utils import create_shared_memory

from dyngen_env.envs.media import ShownMedia
from dyngen_env.mdp.state import TokenState
from dyngen_env.text.tokenizer import Tokenizer, decode

OBSERVATIONS = ("tokens", "dict", "text")


class AnyText(spaces.Text):
    """Strings of at most `max_length` characters, whatever the characters.

    `spaces.Text` checks every character against a set; over all of Unicode that takes 300 MB.
    """

    def __init__(self, max_length: int):
        super().__init__(max_length=max_length, min_length=0)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Printable ASCII of a random length; masks are not supported."""
        length = self.np_random.integers(self.max_length + 1)
        return "".join(map(chr, self.np_random.integers(32, 127, size=length)))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length

    def __repr__(self) -> str:
        return f"AnyText({self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyText) and other.max_length == self.max_length

    __hash__ = None  # type: ignore[assignment]  # like the other spaces: mutable, hence not hashable


@create_shared_memory.register(AnyText)
def _no_shared_memory(space: AnyText, n: int = 1, ctx: Any = None) -> Any:
    """Gymnasium reads text from shared memory once and never again (its issue 1164)."""
    raise CustomSpaceError('observation="text" needs AsyncVectorEnv(..., shared_memory=False)')


class Observer:
    """The observation space of one kind, and the observations of a batch of states.

    Args:
        kind: "tokens" observes the context, Box(-1, V-1, (L,), int64), -1 where it is empty. "dict" observes what
            language models take: `input_ids` (L,), a valid token where the context is empty, `attention_mask` (L,),
            0 there, `completion_mask` (L,), 1 where the agent chose the token, and `tokens_left` (1,) of the turn; and
            what the context shows, `pictures` (P, H, W, 3) and `sounds` (S, T), if the env has any.
            "text" observes the text of the context, without control tokens.
        tokenizer: of V tokens.
        context: L.
        max_new_tokens: how many tokens a turn may have.
        media: what contexts may show. Where an observation must be of the vocabulary, a control token stands for it.

    Raises:
        ValueError: another kind.
    """

    def __init__(self, kind: str, tokenizer: Tokenizer, *, context: int, max_new_tokens: int, media: ShownMedia):
        if kind not in OBSERVATIONS:
            raise ValueError(f"unknown observation {kind!r}: expected one of {', '.join(OBSERVATIONS)}")
        self.kind, self.tokenizer, self.max_new_tokens, self.media = kind, tokenizer, max_new_tokens, media
        vocabulary = len(tokenizer)
        self.filler = min(tokenizer.end_ids, default=0)  # stands where `input_ids` is empty
        self.space: gym.Space
        if kind == "tokens":
            self.space = spaces.Box(-1, vocabulary - 1, (context,), np.int64)
        elif kind == "dict":
            self.space = spaces.Dict(
                input_ids=spaces.Box(0, vocabulary - 1, (context,), np.int64),
                attention_mask=spaces.Box(0, 1, (context,), np.int8),
                completion_mask=spaces.Box(0, 1, (context,), np.int8),
                tokens_left=spaces.Box(0, max_new_tokens, (1,), np.int64),
                **media.spaces(),
            )
        else:
            longest = max(map(len, tokenizer.token_bytes))
            self.space = AnyText(context * longest)

    def tensors(self, state: TokenState) -> Any:
        """The observations of B rows: a tensor (B, L) or a dict of tensors, on the state's device, or a tuple of texts.

        The tensor (B, L) is the state's own: do not write to it. Its places of media name them (`text.media.tokens`).
        """
        if self.kind == "tokens":
            return state.tokens
        if self.kind == "text":
            return tuple(decode(self.tokenizer, row) for row in state.tokens.tolist())
        present = state.tokens >= 0
        left = (self.max_new_tokens if state.budget is None else state.budget) - (state.length - state.turn_start)
        return {
            "input_ids": torch.where(present, self.media.in_vocabulary(state.tokens), self.filler),
            "attention_mask": present.to(torch.int8),
            "completion_mask": state.completion_mask.to(torch.int8),
            "tokens_left": left.clamp(min=0).unsqueeze(1),
            **self.media.arrays(state.tokens),
        }

    def arrays(self, state: TokenState) -> Any:
        """The same observations as numpy arrays, which share no memory with the state."""
        seen = self.tensors(state)
        if isinstance(seen, torch.Tensor):
            return np.array(self.media.in_vocabulary(seen).numpy(force=True))
        if isinstance(seen, dict):
            return {key: np.array(value.numpy(force=True)) for key, value in seen.items()}
        return seen


def row_of(observations: Any, row: int) -> Any:
    """The observation of one row of a batch, as a copy."""
    if isinstance(observations, dict):
        return {key: value[row].copy() for key, value in observations.items()}
    one = observations[row]
    return one if isinstance(one, str) else one.copy()
