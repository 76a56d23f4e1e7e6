"""The part of an encoder that hears short utterances: features of a fixed size, and a small network behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from dyngen_env.lm.modalities.utterance import FEATURES, utterance_features
from dyngen_env.text.media import Sound
from dyngen_env.text.media.sound import SAMPLING_RATE

_known: WeakKeyDictionary[Sound, Tensor] = WeakKeyDictionary()  # features, which depend on the sound alone


class UtterancePart(nn.Module):
    """One hidden layer from the features of an utterance (`utterance_features`) to the vectors of all n places. So it
    knows whole sayings by heart; for free speech take another part.

    Args:
        width: E, of the vectors. seconds: how long a sound may be. places: n. hidden: width of the hidden layer.
    """

    def __init__(self, width: int, seconds: float = 8.0, places: int = 16, hidden: int = 256):
        super().__init__()
        self.settings: dict[str, Any] = dict(width=width, seconds=seconds, places=places, hidden=hidden)
        self.places, self.samples = places, round(seconds * SAMPLING_RATE)
        self.hidden, self.out = nn.Linear(FEATURES, hidden), nn.Linear(hidden, places * width)
        nn.init.normal_(self.out.weight, std=0.02)

    def forward(self, media: Sequence[Sound]) -> Tensor:
        """(K, n, E) of K sounds. Raises ValueError if one is too long."""
        features = torch.stack([self._features(sound) for sound in media])
        return self.read(features.to(self.out.weight.device, self.out.weight.dtype))

    def read(self, features: Tensor) -> Tensor:
        """(K, n, E) of the features (K, FEATURES) of K sounds."""
        return self.out(nn.functional.gelu(self.hidden(features))).unflatten(-1, (self.places, -1))

    def _features(self, sound: Sound) -> Tensor:
        if len(sound.samples) > self.samples:
            raise ValueError(
                f"a sound has {sound.seconds:.2f} s, and the encoder hears {self.samples / SAMPLING_RATE:g} s: cut it"
            )
        if sound not in _known:
            _known[sound] = utterance_features(torch.from_numpy(sound.samples.copy()))
        return _known[sound]
