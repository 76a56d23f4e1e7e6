"""Cached next-token logits as a pure function of the tokens: callers never see a cache.

Each call compares the rows with what the slots hold and runs only the new tokens through the model: one for a row that
grew by one, a prompt for a row that restarted, several where a user answered; where most rows are as they were, only
the others run. So any loop that asks for the logits of a growing sequence decodes at cached speed, whoever wrote it.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch

from dyngen_env.lm.engine.compatibility import compatibility
from dyngen_env.lm.engine.forward import CachedForward, UncachedForward
from dyngen_env.lm.engine.fuse import fuse_elementwise
from dyngen_env.lm.engine.logits import lm_head
from dyngen_env.lm.engine.notes import NEVER, Notes
from dyngen_env.lm.engine.notes_check import masks_with_notes

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class Engine:
    """Next-token hidden states and logits of a causal LM for a batch of rows.

    The cache is dropped when a parameter's version changes, when a forward with gradients has run (fused optimizers
    do not bump versions), and by `invalidate`. A model that cannot be run beside a cache is run over whole rows.

    Not safe to use from two threads, and neither is what holds one: `CausalLMPolicy`, `Actor`, `LMReader`. Threads may
    share a model that nobody trains; give each an engine of its own (`generate` makes one a call), or take turns.

    Args:
        model: a causal language model.

    Attributes:
        label_embedding: of the labels of notes (`notes.embedded`); None: notes are read without them.

    Raises:
        ValueError: the model is not one that this package can use (`compatibility`).
    """

    def __init__(self, model: PreTrainedModel):
        fuse_elementwise(model)
        self.model, self._compatibility = model, compatibility(model)
        self.label_embedding: nn.Embedding | None = None
        self._notes: Notes | None = None  # those that the slots hold
        self._forward: CachedForward | UncachedForward | None = None
        self._note_slots = (0, 0)  # (C, W), room for notes in each row
        self._stale = True
        self._version = -1
        self._tokens = self._lengths = self._positions = torch.empty(0, dtype=torch.int64)  # what the slots hold
        self._hidden = torch.empty(0)  # (B, D), what the last call returned,
        self._hidden_at = self._lengths  # (B,) and after how many tokens; -1: none
        self.tokens_run = 0  # tokens sent through the model since construction, padding included
        reference = weakref.ref(self)  # the model may outlive its engines

        def forget(*_: object) -> None:
            engine = reference()
            if engine is not None and torch.is_grad_enabled():
                engine._stale = True

        handle = model.base_model.register_forward_pre_hook(forget)
        weakref.finalize(self, handle.remove)

    def caches(self, width: int) -> bool:
        """Whether rows of up to `width` tokens are run beside a cache."""
        return width <= min(self._compatibility.cached_up_to, self._compatibility.max_tokens)

    def invalidate(self) -> None:
        """Forget everything: the next call runs whole rows. Call it after changing weights behind torch's back."""
        self._stale = True

    def next_logits(self, tokens: torch.Tensor, lengths: torch.Tensor, notes: Notes | None = None) -> torch.Tensor:
        """Logits (B, V) of the token after each row.

        Args:
            tokens: (B, L) int64, right-padded with anything negative.
            lengths: (B,) int64, at least 1.
            notes: (B, C, W) what the rows attend to, too. The same object means that nothing in it has changed.

        Raises:
                ValueError: notes are given, and this model cannot be run with any (`notes_check`).
        """
        with torch.no_grad():
            return lm_head(self.model, self.next_hidden(tokens, lengths, notes))

    @torch.no_grad()
    def next_hidden(self, tokens: torch.Tensor, lengths: torch.Tensor, notes: Notes | None = None) -> torch.Tensor:
        """Last-layer hidden states (B, D) at each row's last token (arguments as `next_logits`)."""
        self._prepare(tokens, notes)
        self._take_notes(notes)
        known = self._known(tokens, lengths)
        changed = (known < lengths) | (lengths != self._hidden_at)
        if isinstance(self._forward, UncachedForward):
            known = torch.zeros_like(known)
        new = lengths - torch.minimum(known, lengths - 1)  # at least the last token runs, for its hidden state
        self._tokens.copy_(tokens)
        self._lengths = self._hidden_at = lengths.clone()
        self._hidden = self._next(tokens, lengths, new, changed)
        self._version = self._weights_version()  # PEFT's adapters of experts bump versions in a forward
        return self._hidden

    @torch.no_grad()
    def fill(self, tokens: torch.Tensor, lengths: torch.Tensor) -> CachedForward | None:
        """Run what the slots lack of each row before its last token, which is for the caller to run (`OneToken`).

        Whoever goes on by the forward that this returns says by `filled` what the slots hold then. None: this model
        cannot be run beside a cache, or not with rows of this width.
        """
        self._prepare(tokens)
        if isinstance(self._forward, UncachedForward):
            return None
        missing = lengths - 1 - self._known(tokens, lengths - 1)
        rows = (missing > 0).nonzero().squeeze(1)
        if len(rows):
            every_row = len(rows) == len(tokens)
            self._run(tokens, lengths - 1, None if every_row else rows, int(missing.max()))
        self.filled(tokens, lengths)
        self._version = self._weights_version()
        return self._forward

    def filled(self, tokens: torch.Tensor, lengths: torch.Tensor) -> None:
        """Take down that the slots hold all tokens of each row (B, L) but the last of its `lengths` (B,)."""
        self._tokens.copy_(tokens)
        self._lengths = lengths - 1
        self._hidden_at = torch.full_like(lengths, -1)

    def _known(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B,) how many of the first `lengths` (B,) tokens of each row the slots hold."""
        position = self._positions[: tokens.shape[1]]
        known = (tokens == self._tokens) & (position < torch.minimum(self._lengths, lengths).unsqueeze(1))
        return known.long().cumprod(1).sum(1)

    def _next(
        self, tokens: torch.Tensor, lengths: torch.Tensor, new: torch.Tensor, changed: torch.Tensor
    ) -> torch.Tensor:
        """Hidden states (B, D) where rows have `new` (B,) tokens to run, and only the `changed` ones (B,) need to."""
        several, some_rest = torch.stack([(new > 1).any(), (~changed).any()]).tolist()
        if some_rest:
            rows = changed.nonzero().squeeze(1)
            if len(rows) <= len(tokens) // 2:  # with more of them gathering the cache costs more than it saves
                return self._overwrite(self._hidden, tokens, lengths, rows, new)
        if not several:
            return self._run(tokens, lengths, None, 1)
        many = (new > 1).nonzero().squeeze(1)
        if len(many) == len(tokens):
            return self._run(tokens, lengths, None, int(new.max()))
        # All rows take one step, which avoids gathering the cache; rows with more to run then do that and overwrite.
        return self._overwrite(self._run(tokens, lengths, None, 1), tokens, lengths, many, new)

    def _overwrite(
        self, hidden: torch.Tensor, tokens: torch.Tensor, lengths: torch.Tensor, rows: torch.Tensor, new: torch.Tensor
    ) -> torch.Tensor:
        """A copy of `hidden` (B, D) in which `rows` (R,) are what their new tokens make of them."""
        if not len(rows):
            return hidden.clone()
        return hidden.index_copy(0, rows, self._run(tokens, lengths, rows, int(new[rows].max())))

    def fork(self, rows: torch.Tensor) -> None:
        """Row i continues what row rows[i] was (rows (B',) int64): for beams, Monte-Carlo rollouts, reordering."""
        if self._forward is not None and not self._stale:
            self._forward.fork(rows)
            self._tokens, self._lengths = self._tokens[rows], self._lengths[rows]
            self._hidden, self._hidden_at = self._hidden[rows], self._hidden_at[rows]
            self._notes = None if self._notes is None else self._notes.take(rows)

    def _take_notes(self, notes: Notes | None) -> None:
        """Let the slots hold these notes, and forget what rows have computed beside others."""
        held = self._notes
        if notes is None or notes is held:
            return
        assert isinstance(self._forward, CachedForward)
        if held is None:
            differ = notes.present
        else:
            differ = notes.differ(held)
            begins = torch.minimum(
                notes.begins.masked_fill(~notes.present, NEVER), held.begins.masked_fill(~held.present, NEVER)
            )
            valid = begins.masked_fill(~differ, NEVER).amin(1)  # (B,) of the row's tokens, those before that position
            self._lengths = torch.minimum(self._lengths, valid)
            self._hidden_at = torch.where(valid < self._hidden_at, -1, self._hidden_at)
        self.tokens_run += self._forward.take_notes(notes, differ, self.label_embedding)
        self._notes = notes

    def _prepare(self, tokens: torch.Tensor, notes: Notes | None = None) -> None:
        """Make slots for `tokens` (B, L) and `notes` (B, C, W), empty if the old ones cannot serve."""
        rows, width = tokens.shape
        note_slots = (0, 0) if notes is None else (notes.tokens.shape[1], notes.tokens.shape[2])
        fits = self._tokens.shape == tokens.shape and self._tokens.device == tokens.device
        fits = fits and self._note_slots == note_slots
        version = self._weights_version()
        if not fits or self._stale or version != self._version:
            self._notes = None
            if not fits:
                self._note_slots = note_slots
                self._forward = self._new_forward(rows, width)
            self._tokens = torch.full_like(tokens, -1)
            self._lengths = tokens.new_zeros(rows)
            self._hidden_at = torch.full_like(self._lengths, -1)
            self._positions = torch.arange(width, device=tokens.device)
            self._version, self._stale = version, False

    def _new_forward(self, rows: int, width: int) -> CachedForward | UncachedForward:
        self._compatibility.check_length(width)
        if self._note_slots != (0, 0):
            masks_with_notes(self.model, width)  # raises if the model cannot be run with any
        if width > self._compatibility.cached_up_to:
            return UncachedForward(self.model)
        return CachedForward(self.model, rows, width, self._compatibility.window, self._note_slots)

    def _run(self, tokens: torch.Tensor, lengths: torch.Tensor, rows: torch.Tensor | None, width: int) -> torch.Tensor:
        """Hidden states (R, D) at the last tokens of `rows` (R,) (None: all) after running `width` tokens of each."""
        assert self._forward is not None
        self.tokens_run += (len(tokens) if rows is None else len(rows)) * width
        return self._forward.run(tokens, lengths, rows, width)

    def _weights_version(self) -> int:
        versions, seen = 0, set[torch.nn.Module]()
        modules: list[torch.nn.Module | None] = [self.model, self.label_embedding]
        while modules:  # `parameters()` also makes their names, which takes a tenth of a small model's step
            if (module := modules.pop()) is not None and module not in seen:
                seen.add(module)
                versions += sum(p._version for p in module._parameters.values() if p is not None)
                modules += module._modules.values()
        return versions
