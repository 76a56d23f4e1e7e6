"""An encoder of media: for each kind a part that makes so many vectors of one, as wide as a model's word embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from dyngen_env.text.media import Medium


class MediaPart(Protocol):
    """What encodes one kind of media: a torch module with these attributes.

    Attributes:
        places: n, how many vectors it makes of one.
        settings: what it was made with, in values that JSON can hold (`modalities.parts.part_from`).
    """

    places: int
    settings: dict[str, Any]

    def __call__(self, media: Sequence[Any]) -> Tensor:
        """(K, n, E) of K media of the kind. What it makes of one does not depend on the others."""


class MediaEncoder(nn.Module):
    """Makes vectors of pictures and sounds.

    Args:
        parts: by kind of media, "picture" and "sound", or one of them.
    """

    def __init__(self, parts: Mapping[str, nn.Module]):
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    @property
    def places(self) -> dict[str, int]:
        """How many tokens a medium takes, by kind."""
        return {kind: self.part(kind).places for kind in self.parts}

    def part(self, kind: str) -> MediaPart:
        """The part for a kind of media.

        Raises:
            ValueError: there is none.
        """
        if kind not in self.parts:
            raise ValueError(
                f"the model's encoder reads {' and '.join(f'{k}s' for k in self.parts)}, and a {kind} is shown: give "
                f"it a part for {kind}s (`lm.modalities`)"
            )
        return cast(MediaPart, self.parts[kind])

    def forward(self, media: Sequence[Medium]) -> Tensor:
        """Vectors (K, P, E) of K media, P being the most that one of them has; zero in the places that one lacks."""
        kinds = sorted({medium.kind for medium in media})
        of_kind = [[i for i, medium in enumerate(media) if medium.kind == kind] for kind in kinds]
        made = [self.part(kind)([media[i] for i in which]) for kind, which in zip(kinds, of_kind, strict=True)]
        if len(kinds) == 1:
            return made[0]
        most = max(vectors.shape[1] for vectors in made)
        padded = torch.cat([nn.functional.pad(vectors, (0, 0, 0, most - vectors.shape[1])) for vectors in made])
        order = torch.tensor([i for which in of_kind for i in which], device=padded.device)
        return padded[order.argsort()]
