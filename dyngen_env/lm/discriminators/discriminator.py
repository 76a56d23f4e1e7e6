"""The protocol of a discriminator: the log-odds that people wrote a text, for a text and for each of its beginnings."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn


class Discriminator(Protocol):
    """A classifier of texts as token ids. `ConvolutionalDiscriminator` and `HiddenStateDiscriminator` are two.

    It is causal: what it says of the first p tokens depends on these alone, so that one pass judges every prefix.
    """

    kind: ClassVar[str]
    """Its name in files and settings."""
    settings: dict[str, Any]
    """The keyword arguments that, beside `hidden` of those that read hidden states, make an equal one."""

    @property
    def module(self) -> nn.Module:
        """What learns: its parameters are all that there is to save."""

    def prefix_logits(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The log-odds (N, T) float32 that people wrote tokens[:, : p + 1], at position p.

        Args:
            tokens: (N, T) int64, right-padded with -1; the logits at the padding are those of the whole text.
            generator: draws which features are dropped while it learns; None drops none.
        """

    def logits(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The log-odds (N,) float32 that people wrote the texts (N, T), none of them empty; as `prefix_logits`."""


def dropped(features: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014) with a mask from a generator of one's own, which may be on the CPU.

    Args:
        features: (N, ..., F); of each row whole features are dropped, at all positions alike. share: of them, dropped.
        generator: None drops nothing.
    """
    if generator is None or share == 0:
        return features
    shape = (len(features), *[1] * (features.dim() - 2), features.shape[-1])
    kept = torch.rand(shape, generator=generator).to(features.device) >= share
    return features * kept / (1 - share)


def seeded(seed: int, build: Any) -> Any:
    """What `build()` makes, with torch's global generator seeded for its weights and put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
