"""A small convolutional network for sounds, over their log-mel spectrogram."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dyngen_env.lm.modalities.log_mel import HOP, log_mel
from dyngen_env.text.media import Sound
from dyngen_env.text.media.sound import SAMPLING_RATE

STRIDE = 8  # frames that become one by three convolutions


class SoundConvnet(nn.Module):
    """Log-mel frames, three strided convolutions over time, and n means over equal parts of the sound's duration.

    Every sound is padded with silence to the same length, so that what is made of one does not depend on the others.

    Args:
        width: E, of the vectors. seconds: how long a sound may be.
        places: n. bands: of the mel scale. channels: of the convolutions.
    """

    def __init__(self, width: int, seconds: float = 6.0, places: int = 16, bands: int = 40, channels: int = 128):
        super().__init__()
        self.settings: dict[str, Any] = dict(
            width=width, seconds=seconds, places=places, bands=bands, channels=channels
        )
        self.places, self.bands, self.samples = places, bands, round(seconds * SAMPLING_RATE)
        steps = (bands, channels, channels, channels)
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, 5, stride=2, padding=2) for a, b in pairwise(steps))
        self.out = nn.Linear(channels, width)
        self.places_bias = nn.Parameter(torch.zeros(places, width))
        nn.init.normal_(self.out.weight, std=0.02)

    def forward(self, media: Sequence[Sound]) -> Tensor:
        """(K, n, E) of K sounds. Raises ValueError if one is too long."""
        samples = padded(media, self.samples).to(self.out.weight.device)
        heard = log_mel(samples, self.bands).transpose(1, 2).to(self.out.weight.dtype)  # (K, bands, F)
        for convolution in self.convolutions:
            heard = nn.functional.gelu(convolution(heard))
        frames = torch.tensor([len(sound.samples) for sound in media], device=heard.device).div(
            HOP * STRIDE, rounding_mode="floor"
        )
        return self.out(means_of_parts(heard.transpose(1, 2), frames.clamp(min=1), self.places)) + self.places_bias


def padded(media: Sequence[Sound], samples: int) -> Tensor:
    """(K, samples) float32: the sounds, with silence after them. Raises ValueError if one is longer."""
    array = np.zeros((len(media), samples), np.float32)
    for row, sound in zip(array, media, strict=True):
        if len(sound.samples) > samples:
            raise ValueError(
                f"a sound has {sound.seconds:.2f} s, and the encoder hears {samples / SAMPLING_RATE:g} s: cut it"
            )
        row[: len(sound.samples)] = sound.samples
    return torch.from_numpy(array)


def means_of_parts(frames: Tensor, lengths: Tensor, parts: int) -> Tensor:
    """(K, n, D): means over n parts of the first `lengths` (K,) of frames (K, F, D), as adaptive pooling cuts them:
    part i reaches from ⌊i l / n⌋ to ⌈(i + 1) l / n⌉."""
    i, at = torch.arange(parts, device=lengths.device), torch.arange(frames.shape[1], device=lengths.device)
    length = lengths.clamp(max=frames.shape[1]).unsqueeze(1)
    begin, end = i * length // parts, -(-(i + 1) * length // parts)  # (K, n)
    inside = (at >= begin.unsqueeze(2)) & (at < end.unsqueeze(2))  # (K, n, F)
    weights = inside / inside.sum(2, keepdim=True)
    return weights.to(frames.dtype) @ frames
