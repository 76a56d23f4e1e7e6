"""Pads lists of token ids on the right, to one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch


def pad_rows(rows: Sequence[Sequence[int]], width: int | None = None, fill: int = -1) -> torch.Tensor:
    """One (N, L) int64 tensor on the CPU from N lists of ids, with `fill` to the right of the shorter ones.

    Args:
        width: L; None means the length of the longest list.

    Raises:
        ValueError: a row is longer than `width`.
    """
    lengths = [len(row) for row in rows]
    longest = max(lengths, default=0)
    width = longest if width is None else width
    if longest > width:
        raise ValueError(f"a row has {longest} ids, expected at most width={width}")
    padded = torch.full((len(rows), width), fill)
    filled = torch.arange(width) < torch.tensor(lengths, dtype=torch.int64).unsqueeze(1)  # (N, L)
    padded[filled] = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.int64)
    return padded
