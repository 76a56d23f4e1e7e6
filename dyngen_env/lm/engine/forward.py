"""The two ways in which a model is run here: over whole rows, or over new tokens beside cached ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from dyngen_env.lm.engine.masks import AttentionMasks
from dyngen_env.lm.engine.notes import Notes, embedded
from dyngen_env.lm.modalities.attached import encoder_of
from dyngen_env.lm.modalities.reading import model_inputs
from dyngen_env.text.media.tokens import as_placeholders

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def whole_rows(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Last hidden states (N, T, D) of right-padded tokens (N, T), -1 where empty, without a cache.

    No attention mask is needed: under causal attention nothing before the padding can see it.
    """
    return model.base_model(**model_inputs(model, tokens), use_cache=False).last_hidden_state


class CachedForward:
    """Runs the newest tokens of rows whose older tokens' keys and values it keeps, each row in a slot of its own.

    Args:
        model: an attention model.
        num_slots, max_length: B rows of at most L tokens.
        window: how many tokens the model's sliding layers see, None if it has none.
        note_slots: (C, W), for how many notes of how many tokens a row has room.

    Raises:
        ValueError: see `AttentionMasks`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        num_slots: int,
        max_length: int,
        window: int | None,
        note_slots: tuple[int, int] = (0, 0),
    ):
        from dyngen_env.lm.engine.slots import SlotCache  # imports transformers, which takes seconds

        self._note_slots = note_slots
        self._before = note_slots[0] * note_slots[1]  # places that stand before a row's own tokens
        self._start = self._before  # the first of them that is in use
        self._notes_from: torch.Tensor | None = None  # (B, places in use), see `Notes.seen_from`
        self.model, self.slots = model, SlotCache(model.config, num_slots, self._before + max_length)
        self._masks, self._positions = AttentionMasks(model, window), torch.arange(max_length, device=model.device)
        parameters = inspect.signature(model.base_model.forward).parameters
        # The latter before transformers 5.24.
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"

    @property
    def attends_to_all(self) -> bool:
        """Whether every layer attends to all tokens before the new one, by a mask that is True there."""
        return self._masks.boolean_and_full

    def run(
        self,
        tokens: torch.Tensor,
        lengths: torch.Tensor,
        rows: torch.Tensor | None,
        width: int,
        end: int | None = None,
        mask: torch.Tensor | None = None,
        compiled: bool = False,
    ) -> torch.Tensor:
        """Hidden states (R, D) at the last tokens of `rows` (R,) (None: all), after running their last `width` tokens.

        Rows shorter than `width` repeat position 0, which writes there what stands there.

        Args:
            tokens: (B, L) int64 of all rows. lengths: (B,) int64, at least 1.
            end: how many cached positions are attended to; None: as many as the longest row has tokens, for which its
                length is read on the host. If it is given, nothing is, and no media are looked for among the tokens.
            mask: 4-D, for attention that takes another one than `AttentionMasks` makes.
            compiled: whether inductor's version of the model runs; there must have been a run without.
        """
        if rows is not None:
            tokens, lengths = tokens[rows], lengths[rows]
        column = torch.arange(1 - width, 1, device=tokens.device)
        positions = (lengths.unsqueeze(1) - 1 + column).clamp(min=0)  # (R, W)
        inputs = self._inputs(tokens.gather(1, positions), end is None)
        end = int(lengths.max()) if end is None else end
        before, notes_from = self._before, self._notes_from
        if notes_from is not None and rows is not None:
            notes_from = notes_from[rows]
        self.slots.aim(rows, positions + before if before else positions, before + end, self._start)
        output = (self._compiled if compiled else self.model.base_model)(
            **inputs,
            position_ids=positions,
            attention_mask=self._masks(positions, self._positions[:end], notes_from) if mask is None else mask,
            use_cache=True,
            **{self._cache_name: self.slots},
        )
        return output.last_hidden_state[:, -1]

    def _inputs(self, tokens: torch.Tensor, look_for_media: bool) -> dict[str, torch.Tensor]:
        """What the model is given for tokens (R, W)."""
        if encoder_of(self.model) is None and tokens.shape[1] == 1:
            return {"input_ids": tokens}
        if look_for_media:
            return model_inputs(self.model, tokens)
        return {"input_ids": as_placeholders(tokens, 0)}  # those of rows that stand still

    def take_notes(self, notes: Notes, new: torch.Tensor, label_embedding: nn.Embedding | None = None) -> int:
        """Rows attend to these notes from now on. Reads on the host.

        Rows without a note at all are run as if there were no such thing, if that is true of every row.

        Args:
            notes: (B, C, W). new: (B, C) bool, those whose keys and values the slots do not hold.
            label_embedding: see `notes.embedded`.

        Returns:
            how many tokens were run, padding included.
        """
        width = self._note_slots[1]
        used = int(notes.present.sum(1).max())
        self._start = self._before - used * width
        self._notes_from = notes.seen_from()[:, :used].flip(1).flatten(1) if used else None  # the first is the last
        row, place = (new & notes.present).nonzero(as_tuple=True)
        if not len(row):
            return 0
        widest = int(notes.lengths[row, place].max())
        column = torch.arange(widest, device=row.device)
        where = (self._before - (place + 1) * width).unsqueeze(1) + column  # (R, W)
        self.slots.aim(row, where, widest, alone=True)
        self.model.base_model(
            inputs_embeds=embedded(
                self.model, notes.tokens[row, place, :widest], notes.labels[row, place], label_embedding
            ),
            position_ids=notes.positions()[row, place, :widest],
            attention_mask=self._masks(column.expand(len(row), -1), column),
            use_cache=True,
            **{self._cache_name: self.slots},
        )
        return len(row) * widest

    @cached_property
    def _compiled(self) -> Callable[..., Any]:
        return torch.compile(self.model.base_model.forward, dynamic=False)

    def fork(self, rows: torch.Tensor) -> None:
        """Slot i becomes a copy of what slot rows[i] holds (rows (B',) int64)."""
        self.slots.fork(rows)
        if self._notes_from is not None:
            self._notes_from = self._notes_from[rows]


class UncachedForward:
    """Runs whole rows, for models that cannot be run beside a cache. Arguments as `CachedForward`'s."""

    def __init__(self, model: PreTrainedModel):
        self.model = model

    def run(self, tokens: torch.Tensor, lengths: torch.Tensor, rows: torch.Tensor | None, width: int) -> torch.Tensor:
        """Hidden states (R, D) at the last tokens of `rows`. All their tokens run, whatever `width` is."""
        if rows is not None:
            tokens, lengths = tokens[rows], lengths[rows]
        hidden = whole_rows(self.model, tokens[:, : int(lengths.max())])
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]

    def fork(self, rows: torch.Tensor) -> None:
        """There is nothing to copy."""
