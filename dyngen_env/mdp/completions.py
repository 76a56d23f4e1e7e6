"""The text of a turn, from its tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dyngen_env.mdp.state import ILLEGAL, TokenState
from dyngen_env.text.tokenizer import Tokenizer, as_text, spell


def completion_texts(
    tokenizer: Tokenizer, spoken: TokenState, rows: Sequence[int], stop: Sequence[bytes] = ()
) -> list[str]:
    """What each of `rows` has said in its last turn: cut before a stop string, without an illegal token.

    Stop strings are looked for in bytes, where the rules found them, so that what is no valid UTF-8 cannot hide or
    feign one.
    """
    where = torch.as_tensor(rows, dtype=torch.int64, device=spoken.tokens.device)
    start, end = spoken.turn_start[where], spoken.length[where] - (spoken.finish[where] == ILLEGAL).long()
    read = torch.cat([spoken.tokens[where], start.unsqueeze(1), end.unsqueeze(1)], dim=1).tolist()  # one host read
    turns = [spell(tokenizer, ids[a:b]) for *ids, a, b in read]
    return [as_text(tokenizer, _before_first(turn, stop)) for turn in turns]


def _before_first(text: bytes, stop: Sequence[bytes]) -> bytes:
    found = [at for at in map(text.find, stop) if at >= 0]
    return text[: min(found)] if found else text
