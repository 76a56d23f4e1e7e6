"""Rated turns as token rows: what a model is run on to learn from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dyngen_agents.data.trajectories import by_length
from dyngen_agents.feedback.live.log import RatedTurn
from dyngen_agents.policy.feedback_memory import FeedbackMemory
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.text.padding import pad_rows
from dyngen_env.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TurnRow:
    """A turn after its context, each as token ids, and what the model attends to beside them."""

    context: tuple[int, ...]
    turn: tuple[int, ...]
    memory: FeedbackMemory | None = None

    def __len__(self) -> int:
        return len(self.context) + len(self.turn)

    def cut(self, context: int, window: int) -> TurnRow:
        """With the latest `context` tokens before the turn, at most, and no more in all than the model's window."""
        turn = self.turn[: window - 1]
        room = min(context, window - len(turn))
        latest = self.context[-room:]
        memory = self.memory and self.memory.after_cut(len(self.context) - len(latest))
        return TurnRow(latest, turn, memory)

    def after(self, words: str, tokenizer: Tokenizer) -> TurnRow:
        """The same turn as if its person had said before it what they said of it (`data.hindsight`)."""
        heard = tokenizer.encode_reply(words, self.context[-1])
        return TurnRow((*self.context, *heard), self.turn, self.memory)


@dataclass(frozen=True)
class RowBatch:
    """n rows as tensors: tokens (n, T), -1 where empty; where the turn's M tokens are; notes, if a row has any."""

    tokens: Tensor
    at: tuple[Tensor, Tensor]  # rows (M,) and columns (M,)
    notes: Notes | None

    @property
    def targets(self) -> Tensor:
        """(M,) the turns' tokens."""
        return self.tokens[self.at]

    @property
    def before(self) -> tuple[Tensor, Tensor]:
        """Where the hidden states are from which the turns' tokens are predicted, of a forward without the last."""
        return self.at[0], self.at[1] - 1

    def sums(self, values: Tensor) -> Tensor:
        """(n,) of values (M,) of the turns' tokens, the sum over each turn."""
        return values.new_zeros(len(self.tokens)).index_add(0, self.at[0], values)


def batch_of(rows: Sequence[TurnRow], device: torch.device) -> RowBatch:
    """Rows as tensors on a device."""
    tokens = pad_rows([[*row.context, *row.turn] for row in rows])
    mask = pad_rows([[0] * len(row.context) + [1] * len(row.turn) for row in rows], fill=0).bool()
    at = mask.nonzero(as_tuple=True)
    return RowBatch(tokens.to(device), (at[0].to(device), at[1].to(device)), _notes(rows, device))


def pieces(rows: Sequence[TurnRow], max_tokens: int) -> Iterator[list[int]]:
    """Numbers of rows, in pieces of similar length, each of at most `max_tokens` padded tokens."""
    lengths = torch.tensor([len(row) for row in rows])
    for piece in by_length(torch.arange(len(rows)), lengths, max_tokens):
        yield piece.tolist()


def writable(turns: Sequence[RatedTurn], legal: Tensor | None) -> list[RatedTurn]:
    """The turns of legal tokens alone: others, such as control tokens, have a log-prob of -inf.

    Args:
        legal: (V,) bool; None: all are.

    Raises:
        ValueError: there are none.
    """
    if legal is None:
        return list(turns)
    allowed = set(legal.nonzero().flatten().tolist())
    kept = [turn for turn in turns if allowed.issuperset((*turn.tokens, *turn.better))]
    if not kept:
        raise ValueError(f"each of {len(turns)} turns holds tokens that the model may not write")
    return kept


def row_of(turn: RatedTurn, tokens: tuple[int, ...] | None = None) -> TurnRow:
    """The row of a rated turn, or of what its person would rather have read there."""
    return TurnRow(turn.context, turn.tokens if tokens is None else tokens, turn.memory)


def _notes(rows: Sequence[TurnRow], device: torch.device) -> Notes | None:
    known = [row.memory for row in rows if row.memory is not None]
    if not known:
        return None
    places, width = max(len(memory.notes) for memory in known), known[0].width
    none = Notes.none(1, places, width, device)
    each = [none if row.memory is None else row.memory.as_notes(places, device) for row in rows]
    return Notes(*(torch.cat(part) for part in zip(*((n.tokens, n.labels, n.begins) for n in each), strict=True)))
