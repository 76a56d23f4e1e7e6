"""Notes: short texts that a row attends to in every layer beside its own tokens, as a memory of what it was told.

Each note is run through the model by itself, and its keys and values stand before the row's own. So a note depends on
nothing but its words, is encoded once, and is of use to a model that was never trained with notes: to it they are words
that it has read. The row's tokens stay where they are without notes. A note begins to count at a position of the row:
tokens before that do not see it, which is what lets one forward over a whole dialogue see at every turn the notes that
had been taken by then.

Shapes: B rows, at most C notes a row, at most W tokens a note, L tokens a row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

from dyngen_env.lm.engine.masks import AttentionMasks
from dyngen_env.lm.modalities.reading import token_embeddings

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

NEVER = 2**40  # a position that no row reaches


@dataclass(frozen=True, slots=True, eq=False)
class Notes:
    """The notes of B rows, oldest first; a row's empty places come last.

    Attributes:
        tokens: (B, C, W) int64, right-padded with -1; a place is empty if its first token is -1.
        labels: (B, C) int64, which of the model's labels a note bears, such as a rating; 0 is none.
        begins: (B, C) int64, the position of the first token of the row that sees the note.
    """

    tokens: torch.Tensor
    labels: torch.Tensor
    begins: torch.Tensor

    @staticmethod
    def none(rows: int, notes: int, width: int, device: torch.device | str | None = None) -> Notes:
        """Empty places."""
        tokens = torch.full((rows, notes, width), -1, device=device)
        return Notes(tokens, torch.zeros_like(tokens[..., 0]), torch.zeros_like(tokens[..., 0]))

    @property
    def present(self) -> torch.Tensor:
        """(B, C) bool, which places hold a note."""
        return self.tokens[..., 0] >= 0

    @property
    def lengths(self) -> torch.Tensor:
        """(B, C) int64, tokens of each note."""
        return (self.tokens >= 0).sum(-1)

    def take(self, rows: torch.Tensor) -> Notes:
        """Those of `rows` (R,)."""
        return Notes(self.tokens[rows], self.labels[rows], self.begins[rows])

    def trimmed(self) -> Notes:
        """Without places and columns that are empty in every row. Reads on the host."""
        most, widest = torch.stack([self.present.sum(1).max(), self.lengths.max()]).tolist()
        return Notes(self.tokens[:, :most, :widest], self.labels[:, :most], self.begins[:, :most])

    def positions(self) -> torch.Tensor:
        """(B, C, W) where the tokens stand: a note ends where it begins to count, as if it had been said there."""
        first = (self.begins + 1 - self.lengths).clamp(min=0)
        return first.unsqueeze(-1) + torch.arange(self.tokens.shape[-1], device=self.tokens.device)

    def seen_from(self) -> torch.Tensor:
        """(B, C, W) the position of the first token of the row that sees each of the notes' tokens."""
        return self.begins.unsqueeze(-1).masked_fill(self.tokens < 0, NEVER)

    def differ(self, other: Notes) -> torch.Tensor:
        """(B, C) bool, which notes are not those of `other`."""
        same = (self.tokens == other.tokens).all(-1) & (self.labels == other.labels) & (self.begins == other.begins)
        return ~same & (self.present | other.present)

    def as_dict(self) -> dict[str, torch.Tensor]:
        """The tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def embedded(
    model: PreTrainedModel, tokens: torch.Tensor, labels: torch.Tensor, label_embedding: nn.Embedding | None
) -> torch.Tensor:
    """Word embeddings (n, W, E) of notes (n, W), each with the vector of its label (n,) added to every token.

    Args:
        label_embedding: of as many labels as there are, 0 included; None adds nothing.
    """
    vectors = model.get_input_embeddings()(tokens.clamp(min=0))
    if label_embedding is None:
        return vectors
    return vectors + label_embedding(labels).to(vectors.dtype).unsqueeze(1)


def whole_rows_with_notes(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    notes: Notes,
    masks: AttentionMasks,
    label_embedding: nn.Embedding | None = None,
) -> torch.Tensor:
    """Last hidden states (N, T, D) of right-padded tokens (N, T), -1 where empty, that see their notes; no cache.

    Notes and rows are one forward, under a mask that keeps the notes apart, so that gradients reach both.

    Args:
        notes: of these rows, each with one at least. masks: of the model.
        label_embedding: see `embedded`.
    """
    notes = notes.trimmed()
    (rows, count, width), length = notes.tokens.shape, tokens.shape[1]
    vectors = embedded(model, notes.tokens.flatten(0, 1), notes.labels.flatten(), label_embedding)  # (N C, W, E)
    own = token_embeddings(model, tokens)
    at = torch.arange(length, device=tokens.device)
    positions = torch.cat([notes.positions().flatten(1), at.expand(rows, -1)], 1)
    output = model.base_model(
        inputs_embeds=torch.cat([vectors.view(rows, count * width, -1), own], 1),
        position_ids=positions,
        attention_mask=masks.of_whole_rows(notes.seen_from(), at),
        use_cache=False,
    )
    return output.last_hidden_state[:, count * width :]
