"""Episodes whose context was cut: several token rows in one row of a batch, each of which the model reads by itself.

`context_overflow="drop_oldest"` and `drafts="hidden"` take tokens out of a context. What the agent chose before such a
cut, it chose after reading other tokens than those that stand in the last state. So an episode is kept as all of its
token rows, one behind the other in one row of `Trajectories`: the row before each cut as it was, and the last. A later
one begins with what had been left of the earlier one, which is then no choice of the agent's any more
(`completion_mask` is False there), as it has been counted. In order of position, each choice stands there once, so that
returns, advantages and KL of an episode are computed as ever, across the cuts; only forward passes must know of them
(`read_apart`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dyngen_env.lm.engine.notes import Notes

Starts = Sequence[int]  # positions in a row at which its token rows begin; the first is 0
Read = TypeVar("Read", bound="Tensor | tuple[Tensor, ...]")  # what a forward pass says of each position


class Columns(NamedTuple):
    """What a rollout knows of each position of N rows, as in `Trajectories`: (N, L) each."""

    tokens: Tensor
    completion_mask: Tensor
    logprobs: Tensor
    values: Tensor
    rewards: Tensor

    def of(self, rows: Tensor) -> Columns:
        """Copies of rows (R,)."""
        return Columns(*(x[rows] for x in self))


class CutEpisodes:
    """Keeps the token rows of episodes that go on after a cut, until they end."""

    def __init__(self) -> None:
        self._earlier: dict[int, list[Columns]] = {}
        self._begins: dict[int, list[int]] = {}  # from which position of the whole row on each of its notes counts

    def cut(self, rows: Tensor, before: Columns, notes: Mapping[str, Tensor]) -> None:
        """The contexts of rows (R,) of an env have been cut.

        Args:
            before: (B, L), what stood there. notes: of these rows, as `Trajectories.notes`, counting in `before`.
        """
        for i, (row, *columns) in enumerate(zip(rows.tolist(), *before.of(rows), strict=True)):
            self._write_down(row, notes, i)
            self._earlier.setdefault(row, []).append(_trimmed(Columns(*columns)))

    def whole(
        self, rows: Tensor, last: Columns, notes: Mapping[str, Tensor]
    ) -> tuple[Columns, list[Starts], dict[str, Tensor]]:
        """Whole episodes that have ended in rows (R,), given their last token rows (R, L) and the notes of these.

        Returns:
            the episodes (R, L'), where in each the token rows begin, and the notes, counting in the whole rows.
        """
        spliced, starts, begins = list[Columns](), list[Starts](), notes.get("begins", torch.empty(0)).clone()
        for i, (row, *columns) in enumerate(zip(rows.tolist(), *last, strict=True)):
            known = self._write_down(row, notes, i)
            if known:
                begins[i, : len(known)] = torch.tensor(known, device=begins.device)
            parts = [*self._earlier.get(row, []), _trimmed(Columns(*columns))]
            if len(parts) > 1 and not parts[-1].completion_mask.any():
                parts.pop()  # the episode ended with the cut
            spliced.append(Columns(*map(torch.cat, zip(*parts, strict=True))))
            starts.append([0, *accumulate(len(part.tokens) for part in parts[:-1])])
        whole = Columns(
            *(pad_sequence(x, True, -1 if k == 0 else 0) for k, x in enumerate(map(list, zip(*spliced, strict=True))))
        )
        return whole, starts, {**notes, "begins": begins} if notes else {}

    def forget(self, rows: Iterable[int]) -> None:
        """New episodes begin in these rows."""
        for row in rows:
            self._earlier.pop(row, None)
            self._begins.pop(row, None)

    def _write_down(self, row: int, notes: Mapping[str, Tensor], i: int) -> list[int]:
        """From which position of the whole row on its notes count, those included that the current token row has added.

        Args:
            notes: oldest first, those of `row` at place i.
        """
        known = self._begins.setdefault(row, [])
        if notes:
            offset = sum(len(part.tokens) for part in self._earlier.get(row, []))
            count = int(Notes(**notes).present[i].sum())
            known += [offset + begin for begin in notes["begins"][i, len(known) : count].tolist()]
        return known


def _trimmed(row: Columns) -> Columns:
    """A token row (L,) without its padding."""
    return Columns(*(x[: int((row.tokens >= 0).sum())] for x in row))


class Apart(NamedTuple):
    """The token rows of n rows of width w, each in a row of its own."""

    tokens: Tensor  # (s, t) int64, padded with -1
    completion_mask: Tensor  # (s, t) bool
    notes: Notes | None  # (s, ...), of each token row those that count in it
    places: Tensor  # (n, w) int64, where each position is found among the s * t


def apart(tokens: Tensor, completion_mask: Tensor, starts: Sequence[Starts], notes: Notes | None) -> Apart:
    """Take rows (n, w) apart that hold several token rows each.

    Args:
        starts: (n,) where the token rows begin in each row. notes: (n, ...) of the rows, or None.
    """
    lengths = (tokens >= 0).sum(1).tolist()
    places = [
        (row, begin, end)
        for row, begins in enumerate(starts)
        for begin, end in zip(begins, [*begins[1:], lengths[row]], strict=True)
    ]
    row, begin, end = torch.tensor(places, device=tokens.device).unsqueeze(2).unbind(1)  # (s, 1) each
    column = torch.arange(int((end - begin).max()), device=tokens.device)
    source, holds = (begin + column).clamp(max=tokens.shape[1] - 1), begin + column < end  # (s, t)
    at = torch.zeros_like(tokens)
    at[row.expand_as(holds)[holds], source[holds]] = holds.flatten().nonzero().squeeze(1)
    if notes is not None:
        notes = notes.take(row.squeeze(1))
        later = notes.begins >= end  # taken in a later token row; those come last
        begins = (notes.begins - begin).clamp(min=0).masked_fill(later, 0)
        notes = replace(notes, tokens=notes.tokens.masked_fill(later.unsqueeze(2), -1), begins=begins)
    return Apart(tokens[row, source].masked_fill(~holds, -1), completion_mask[row, source] & holds, notes, at)


def read_apart(
    function: Callable[..., Read],
    tokens: Tensor,
    completion_mask: Tensor,
    starts: Sequence[Starts],
    notes: Notes | None = None,
) -> Read:
    """What `Trajectories.read` returns of rows (n, w) that hold several token rows each. Arguments as of `apart`."""
    parts = apart(tokens, completion_mask, starts, notes)

    def aligned(x: Tensor) -> Tensor:
        return torch.where(completion_mask, x.flatten()[parts.places], 0)

    arguments = (parts.tokens, parts.completion_mask, *([] if parts.notes is None else [parts.notes]))
    read = function(*arguments)
    if isinstance(read, Tensor):
        return aligned(read)  # type: ignore[return-value]
    return type(read)(*map(aligned, read))  # type: ignore[return-value]  # a named tuple, as Evaluation is
