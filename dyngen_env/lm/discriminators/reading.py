"""What a discriminator is shown of a row of tokens: a span of it, in which every way to end a turn is one token."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def as_read(tokens: Tensor, start: Tensor, end: Tensor, end_ids: Iterable[int]) -> Tensor:
    """tokens[n, start[n] : end[n]] of each row, moved to the left: (N, T) int64, -1 where empty.

    Of several tokens that end a turn an agent may take one and the encoder of human texts another, which would be all
    that there is to learn. So all of them are shown as the smallest.

    Args:
        tokens: (N, L) int64. start, end: (N,) int64, start < end. end_ids: the tokenizer's.
    """
    width = int((end - start).max())
    source = start.unsqueeze(1) + torch.arange(width, device=tokens.device)
    inside = source < end.unsqueeze(1)
    shown = torch.where(inside, tokens.gather(1, source.clamp(max=tokens.shape[1] - 1)), -1)
    first, *others = sorted(end_ids) or [-1]
    for other in others:
        shown = torch.where(shown == other, first, shown)
    return shown
