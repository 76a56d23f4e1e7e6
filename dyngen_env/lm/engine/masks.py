"""Which cached tokens each new token attends to, as the boolean or additive masks that attention layers take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KERNELS = ("sdpa", "eager")  # the attention implementations that take a mask of ours


class AttentionMasks:
    """Masks for new tokens: all tokens before them, or in sliding layers the last `window` of them.

    Args:
        model: its configuration says of what kinds its layers are (`layer_types`).
        window: how many tokens a sliding layer sees, the new one included; None: the model has no such layers.

    Raises:
        ValueError: the model has layers that keep no keys and values (recurrent, linear or chunked attention), or an
            attention kernel that takes no mask of ours.
    """

    def __init__(self, model: PreTrainedModel, window: int | None):
        config = model.config.get_text_config()
        self._window = window
        everywhere = "sliding_attention" if window else "full_attention"
        self._kinds = sorted(set(getattr(config, "layer_types", None) or [everywhere]))
        unknown = set(self._kinds) - {"full_attention", "sliding_attention"}
        if unknown or model._is_stateful:
            raise ValueError(f"it has layers without a key-value cache ({', '.join(unknown) or 'recurrent'})")
        kernel = model.config._attn_implementation
        if kernel not in KERNELS:
            raise ValueError(f'attention {kernel!r} takes no mask: load it with attn_implementation="sdpa" or "eager"')
        self._additive = model.dtype if kernel == "eager" else None  # eager attention adds its mask to the scores

    @property
    def boolean_and_full(self) -> bool:
        """Whether there is one mask for all layers, True at every token before the new one."""
        return self._kinds == ["full_attention"] and self._additive is None

    def __call__(
        self, positions: torch.Tensor, cached: torch.Tensor, notes_from: torch.Tensor | None = None
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """(R, 1, W, end) for tokens at positions (R, W) and cached positions (end,); by kind if there are two.

        Args:
            notes_from: (R, S) int64, for S keys that stand before the cached ones: the first position that sees them.
        """
        full = (cached <= positions.unsqueeze(2)).unsqueeze(1)
        sliding = full
        if self._window is not None:
            sliding = full & (cached > positions.unsqueeze(2) - self._window).unsqueeze(1)
        if notes_from is not None:
            seen = (notes_from.unsqueeze(1) <= positions.unsqueeze(2)).unsqueeze(1)  # (R, 1, W, S)
            full, sliding = torch.cat([seen, full], -1), torch.cat([seen, sliding], -1)
        return self._as_layers_take_them(full, sliding)

    def of_whole_rows(self, seen_from: torch.Tensor, at: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """(N, 1, S, S) for rows of S = C W + T tokens, the notes and then the row; by kind if there are two.

        A note's tokens see what stands before them in the same note, the row's see notes and each other.

        Args:
            seen_from: (N, C, W) int64, `Notes.seen_from`. at: (T,), the positions of the row's own tokens.
        """
        rows, count, width = seen_from.shape
        of_notes = torch.ones(width, width, dtype=torch.bool, device=at.device).tril()
        of_notes = torch.block_diag(*[of_notes] * count).bool()  # (C W, C W)
        upper = torch.cat([of_notes, of_notes.new_zeros(count * width, len(at))], 1)
        own = at <= at.unsqueeze(1)  # (T, T)
        seen = seen_from.flatten(1).unsqueeze(1) <= at.unsqueeze(1)  # (N, T, C W)

        def joined(own: torch.Tensor) -> torch.Tensor:
            lower = torch.cat([seen, own.expand(rows, -1, -1)], 2)
            return torch.cat([upper.expand(rows, -1, -1), lower], 1).unsqueeze(1)

        sliding = own if self._window is None else own & (at > at.unsqueeze(1) - self._window)
        return self._as_layers_take_them(joined(own), joined(sliding))

    def _as_layers_take_them(self, full: torch.Tensor, sliding: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        masks = {"full_attention": full}
        if "sliding_attention" in self._kinds:
            masks["sliding_attention"] = sliding
        if self._additive is not None:
            lowest = torch.finfo(self._additive).min
            masks = {
                kind: torch.zeros_like(mask, dtype=self._additive).masked_fill_(~mask, lowest)
                for kind, mask in masks.items()
            }
        return masks if len(self._kinds) > 1 else masks[self._kinds[0]]
