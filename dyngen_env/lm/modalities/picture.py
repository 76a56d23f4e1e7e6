"""A small convolutional network for pictures, to be trained together with a small language model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dyngen_env.text.media import Picture


class PictureConvnet(nn.Module):
    """Three strided 3x3 convolutions, each halving the picture; n = g² vectors, one for each cell of a g x g grid:

        h = gelu(conv(gelu(conv(gelu(conv(x))))))          vector_c = W [h pooled to 2 x 2 in cell c] + b_c

    Args:
        width: E, of the vectors. size: (H, W) of the pictures.
        places: n, a square number.
        channels: of the last convolution; the others have a half and a quarter of it.

    Raises:
        ValueError: `places` is no square number.
    """

    def __init__(self, width: int, size: Sequence[int] = (32, 32), places: int = 4, channels: int = 128):
        super().__init__()
        grid = isqrt(places)
        if grid * grid != places or places < 1:
            raise ValueError(f"places={places}: a picture takes a square number of tokens, such as 4 or 9")
        self.settings: dict[str, Any] = dict(width=width, size=list(size), places=places, channels=channels)
        self.size, self.places, self.grid = tuple(size), places, grid
        steps = (3, channels // 4, channels // 2, channels)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(steps))
        self.out = nn.Linear(4 * channels, width)
        self.places_bias = nn.Parameter(torch.zeros(places, width))
        nn.init.normal_(self.out.weight, std=0.02)  # about as long as word embeddings are at first

    def forward(self, media: Sequence[Picture]) -> Tensor:
        """(K, n, E) of K pictures. Raises ValueError if one has another size."""
        for picture in media:
            if picture.size != self.size:
                raise ValueError(
                    f"a picture has {picture.size} pixels, and the encoder reads {self.size}: scale it, by "
                    f"Picture.from_file(path, size={self.size})"
                )
        pixels = torch.from_numpy(np.stack([picture.pixels for picture in media])).to(self.out.weight.device)
        seen = pixels.to(self.out.weight.dtype).permute(0, 3, 1, 2) / 127.5 - 1  # (K, 3, H, W)
        for convolution in self.convolutions:
            seen = nn.functional.gelu(convolution(seen))
        cells = nn.functional.adaptive_avg_pool2d(seen, 2 * self.grid)  # (K, C, 2g, 2g)
        cells = cells.unfold(2, 2, 2).unfold(3, 2, 2)  # (K, C, g, g, 2, 2)
        flat = cells.permute(0, 2, 3, 1, 4, 5).reshape(len(media), self.places, -1)
        return self.out(flat) + self.places_bias
