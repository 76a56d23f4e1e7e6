"""Cached next-token logits as a pure function of the tokens: callers never see a cache.

Each call compares the rows with what the slots hold and runs only the new tokens through the model: one for a row that
grew by one, a prompt for a row that restarted, several where a user answered; where most rows are as they were, only
the others run. So any loop that asks for the logits of a growing sequence decodes at cached speed, whoever wrote it.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch

from dyngen_env.lm.engine.fuse import fuse_activations
from dyngen_env.lm.engine.heads import lm_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dyngen_env.lm.engine.slots import SlotCache


class Engine:
    """Next-token hidden states and logits of a causal LM for a batch of rows.

    The cache is dropped when a parameter's version changes, when a forward with gradients has run (fused optimizers
    do not bump versions), and by `invalidate`. Not safe to use from two threads.
    """

    def __init__(self, model: PreTrainedModel):
        fuse_activations(model)
        self.model = model
        self._cache: SlotCache | None = None
        self._stale = True
        self._version = -1
        self._tokens = self._lengths = self._positions = torch.empty(0, dtype=torch.int64)  # what the slots hold
        self._hidden = torch.empty(0)  # (B, D), what the last call returned
        self.tokens_run = 0  # tokens sent through the model since construction, padding included
        self._masks = AttentionMasks(model)
        reference = weakref.ref(self)  # the model may outlive its engines

        def forget(*_: object) -> None:
            engine = reference()
            if engine is not None and torch.is_grad_enabled():
                engine._stale = True

        handle = model.base_model.register_forward_pre_hook(forget)
        weakref.finalize(self, handle.remove)

    def invalidate(self) -> None:
        """Forget everything: the next call runs whole rows. Call it after changing weights behind torch's back."""
        self._stale = True

    def next_logits(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits (B, V) of the token after each row.

        Args:
            tokens: (B, L) int64, right-padded with anything negative.
            lengths: (B,) int64, at least 1.
        """
        with torch.no_grad():
            return lm_head(self.model, self.next_hidden(tokens, lengths))

    @torch.no_grad()
    def next_hidden(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Last-layer hidden states (B, D) at each row's last token (arguments as `next_logits`)."""
        self._prepare(tokens)
        position = self._positions[: tokens.shape[1]]
        known = (tokens == self._tokens) & (position < torch.minimum(self._lengths, lengths).unsqueeze(1))
        known = known.long().cumprod(1).sum(1)  # (B,) leading tokens that the slots hold
        changed = (known < lengths) | (lengths != self._lengths)
        new = lengths - torch.minimum(known, lengths - 1)  # at least the last token runs, for its hidden state
        self._tokens.copy_(tokens)
        self._lengths = lengths.clone()
        self._hidden = self._next(tokens, lengths, new, changed)
        return self._hidden

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

    @torch.no_grad()
    def advance(self, new_tokens: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, D) after appending one token (B,) to every row of the last call: no comparison.

        Raises:
            RuntimeError: there is no last call to continue, or the weights have changed since.
        """
        if self._cache is None or self._stale or self._version != self._weights_version():
            raise RuntimeError("nothing to advance: the cache is empty or stale, call next_hidden with whole rows")
        self._tokens.scatter_(1, self._lengths.unsqueeze(1), new_tokens.unsqueeze(1))
        self._lengths = self._lengths + 1
        self._hidden = self._run(self._tokens, self._lengths, None, 1)
        return self._hidden

    def fork(self, rows: torch.Tensor) -> None:
        """Row i continues what row rows[i] was (rows (B',) int64): for beams, Monte-Carlo rollouts, reordering."""
        if self._cache is not None and not self._stale:
            self._cache.fork(rows)
            self._tokens, self._lengths = self._tokens[rows], self._lengths[rows]
            self._hidden = self._hidden[rows]

    def _prepare(self, tokens: torch.Tensor) -> None:
        """Make slots for `tokens` (B, L), empty if the old ones cannot serve."""
        rows, width = tokens.shape
        version = self._weights_version()
        held = self._cache
        if (
            held is None
            or self._stale
            or version != self._version
            or (held.num_slots, held.max_length) != (rows, width)
            or self._tokens.device != tokens.device
        ):
            reusable = held is not None and (held.num_slots, held.max_length) == (rows, width)
            if not reusable or self._tokens.device != tokens.device:
                from dyngen_env.lm.engine.slots import SlotCache  # imports transformers, which takes seconds

                self._cache = SlotCache(self.model.config, rows, width)
            self._tokens = torch.full_like(tokens, -1)
            self._lengths = tokens.new_zeros(rows)
            self._positions = torch.arange(width, device=tokens.device)
            self._version, self._stale = version, False

    def _run(self, tokens: torch.Tensor, lengths: torch.Tensor, rows: torch.Tensor | None, width: int) -> torch.Tensor:
        """Run the last `width` tokens of `rows`, right-aligned; hidden states at their last tokens.

        Rows shorter than `width` repeat position 0, which writes there what stands there.
        """
        assert self._cache is not None
        if rows is not None:
            tokens, lengths = tokens[rows], lengths[rows]
        column = torch.arange(1 - width, 1, device=tokens.device)
        positions = (lengths.unsqueeze(1) - 1 + column).clamp(min=0)  # (R, W)
        end = int(lengths.max())
        self._cache.aim(rows, positions, end)
        self.tokens_run += positions.numel()
        output = self.model.base_model(
            input_ids=tokens.gather(1, positions),
            position_ids=positions,
            attention_mask=self._masks(positions, self._positions[:end]),
            past_key_values=self._cache,
            use_cache=True,
        )
        return output.last_hidden_state[:, -1]

    def _weights_version(self) -> int:
        return sum(p._version for p in self.model.parameters())


class AttentionMasks:
    """Which cached positions each new token sees: all before it, or in sliding layers the last `sliding_window`.

    Raises:
        ValueError: the model has layers that keep no keys and values (recurrent, linear or chunked attention), or an
            attention kernel that takes no mask of ours.
    """

    def __init__(self, model: PreTrainedModel):
        config = model.config.get_text_config()
        self._window: int | None = getattr(config, "sliding_window", None)
        if not getattr(config, "use_sliding_window", True):
            self._window = None
        everywhere = "sliding_attention" if self._window else "full_attention"
        self._kinds = sorted(set(getattr(config, "layer_types", None) or [everywhere]))
        unknown = set(self._kinds) - {"full_attention", "sliding_attention"}
        if unknown or model._is_stateful:
            raise ValueError(
                f"model {config.model_type!r} has layers without a key-value cache "
                f"({', '.join(unknown) or 'recurrent'}): it cannot be decoded by the cached engine"
            )
        kernel = model.config._attn_implementation
        if kernel not in ("sdpa", "eager"):
            raise ValueError(
                f'attention {kernel!r} takes no mask: load the model with attn_implementation="sdpa" (or "eager")'
            )
        self._additive = model.dtype if kernel == "eager" else None  # eager attention adds its mask to the scores

    def __call__(self, positions: torch.Tensor, cached: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """(R, 1, W, end) for tokens at positions (R, W) and cached positions (end,); by kind if there are two."""
        full = (cached <= positions.unsqueeze(2)).unsqueeze(1)
        masks = {"full_attention": full}
        if self._window is not None and "sliding_attention" in self._kinds:
            masks["sliding_attention"] = full & (cached > positions.unsqueeze(2) - self._window).unsqueeze(1)
        if self._additive is not None:
            lowest = torch.finfo(self._additive).min
            masks = {
                kind: torch.zeros_like(mask, dtype=self._additive).masked_fill_(~mask, lowest)
                for kind, mask in masks.items()
            }
        return masks if len(self._kinds) > 1 else masks[self._kinds[0]]
