"""What callers ask of a language model: hidden states of whole rows, and the logits of hidden states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dyngen_env.lm.engine.compatibility import compatibility
from dyngen_env.lm.engine.forward import whole_rows
from dyngen_env.lm.engine.logits import head_shape, lm_head
from dyngen_env.lm.engine.notes import Notes, whole_rows_with_notes
from dyngen_env.lm.engine.notes_check import masks_with_notes

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

__all__ = ["head_shape", "hidden_states", "lm_head"]


def hidden_states(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    notes: Notes | None = None,
    label_embedding: nn.Embedding | None = None,
) -> torch.Tensor:
    """Last hidden states (N, T, D) of right-padded tokens (N, T), -1 where empty.

    Args:
        notes: (N, C, W) what the rows attend to beside their own tokens. Rows without any are run as if there were no
            such thing.
        label_embedding: of the notes' labels, see `notes.embedded`.

    Raises:
        ValueError: the model is not one that this package can use, or the rows are longer than it can be run on
            (`compatibility`), or it cannot be run with notes (`notes_check`).
    """
    compatibility(model).check_length(tokens.shape[1])
    if notes is None:
        return whole_rows(model, tokens)
    noted = notes.present.any(1)
    rows, others = noted.nonzero().squeeze(1), (~noted).nonzero().squeeze(1)
    if not len(rows):
        return whole_rows(model, tokens)
    masks = masks_with_notes(model, tokens.shape[1])
    if not len(others):
        return whole_rows_with_notes(model, tokens, notes, masks, label_embedding)
    beside = whole_rows_with_notes(model, tokens[rows], notes.take(rows), masks, label_embedding)
    return torch.cat([beside, whole_rows(model, tokens[others])])[torch.cat([rows, others]).argsort()]
