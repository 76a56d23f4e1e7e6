"""Encoders of transformers as parts: a vision model for pictures, a speech encoder for sounds, and a projection."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dyngen_env.lm.loading.dropout import drop_dropout
from dyngen_env.lm.modalities.sound import means_of_parts, padded
from dyngen_env.text.media import Picture, Sound
from dyngen_env.text.media.sound import SAMPLING_RATE


class _Pretrained(nn.Module):
    """A backbone of transformers, frozen or not, and a linear map of its last hidden states to the model's width."""

    def __init__(self, backbone: Any, width: int, places: int, frozen: bool):
        super().__init__()
        drop_dropout(backbone.config)
        self.backbone, self.places, self.frozen = backbone, places, frozen
        backbone.requires_grad_(not frozen)
        self.out = nn.Linear(backbone.config.hidden_size, width)
        nn.init.normal_(self.out.weight, std=0.02)
        self.settings: dict[str, Any] = dict(
            width=width, places=places, frozen=frozen,
            architecture=type(backbone).__name__, config=backbone.config.to_diff_dict(),
        )  # fmt: skip

    def hidden(self, inputs: Tensor) -> Tensor:
        """The backbone's last hidden states (K, F, D)."""
        inputs = inputs.to(self.out.weight.device, self.out.weight.dtype)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.backbone(inputs).last_hidden_state


class PretrainedPictures(_Pretrained):
    """A vision model that reads `pixel_values`, such as `SiglipVisionModel` or `CLIPVisionModel`; its patches are
    averaged over a grid of n cells, or over n runs of them if there is no such grid.

    Args:
        backbone: the model. width: E. places: n. frozen: whether only the projection learns.
    """

    def __init__(self, backbone: Any, width: int, places: int = 4, frozen: bool = True):
        super().__init__(backbone, width, places, frozen)

    def forward(self, media: Sequence[Picture]) -> Tensor:
        """(K, n, E) of K pictures of any size, which are scaled to the backbone's."""
        pixels = scaled(media, self.backbone.config.image_size)
        return self.out(_cells(self.hidden(pixels / 127.5 - 1), self.places))


class PretrainedSounds(_Pretrained):
    """A speech encoder that reads Whisper's log-mel features (`WhisperEncoder`), averaged over n parts of the duration.

    Args:
        backbone: the encoder. width: E. places: n. frozen: whether only the projection learns.
    """

    def __init__(self, backbone: Any, width: int, places: int = 16, frozen: bool = True):
        super().__init__(backbone, width, places, frozen)
        from transformers import WhisperFeatureExtractor  # takes seconds to import

        self.frames = backbone.config.max_source_positions  # of 20 ms, two of the spectrogram
        self.features = WhisperFeatureExtractor(
            feature_size=backbone.config.num_mel_bins, chunk_length=self.frames / 50, sampling_rate=SAMPLING_RATE
        )
        self.features.n_samples = self.frames * 320  # exactly: the extractor rounds

    def forward(self, media: Sequence[Sound]) -> Tensor:
        """(K, n, E) of K sounds. Raises ValueError if one is longer than the backbone hears."""
        samples = padded(media, self.frames * 320).numpy()
        heard = self.features([*samples], sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features
        lengths = torch.tensor([len(sound.samples) for sound in media]).div(320, rounding_mode="floor").clamp(min=1)
        hidden = self.hidden(heard)
        return self.out(means_of_parts(hidden, lengths.to(hidden.device), self.places))


def backbone_from(folder: str) -> Any:
    """The encoder in a folder of transformers: the model itself, of two towers the one that sees, of a model that
    listens and writes the one that listens.

    Raises:
        ValueError: there is none.
    """
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    architecture = next(iter(config.architectures or ()), "")
    if hasattr(config, "vision_config"):
        architecture = architecture.replace("Model", "VisionModel")
    kind: Any = _class(architecture) or AutoModel
    model = kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    if model.config.is_encoder_decoder and hasattr(model, "decoder"):
        model = model.get_encoder()
    if model.main_input_name not in ("pixel_values", "input_features"):
        raise ValueError(
            f"{type(model).__name__} in {folder!r} reads {model.main_input_name}: expected an encoder of pictures or "
            "sounds, such as SiglipVisionModel or WhisperModel"
        )
    return model


def backbone_of(architecture: str, config: dict[str, Any]) -> Any:
    """A backbone with random weights, to be loaded into, by what `settings` say.

    Raises:
        ValueError: transformers has no such class.
    """
    from transformers import AutoConfig

    kind = _class(architecture)
    if kind is None:
        raise ValueError(f"transformers has no {architecture!r}: use the version that the encoder was saved by")
    return kind(AutoConfig.for_model(**config))


def scaled(media: Sequence[Picture], size: int | Sequence[int]) -> Tensor:
    """(K, 3, H, W) float32 from 0 to 255: pictures of any size, scaled to one (H, W), or to a square."""
    side = [size, size] if isinstance(size, int) else [*size]
    pixels = [torch.from_numpy(np.array(picture.pixels)).permute(2, 0, 1)[None].float() for picture in media]
    return torch.cat([nn.functional.interpolate(p, side, mode="bilinear", antialias=True) for p in pixels])


def _class(name: str) -> Any:
    """A class of transformers by its name, wherever it is; None if there is none."""
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return WhisperEncoder if name == "WhisperEncoder" else getattr(transformers, name, None)


def _cells(patches: Tensor, places: int) -> Tensor:
    """(K, n, D) means of patches (K, F, D); a first one that stands for the whole picture is left out of a grid."""
    count = patches.shape[1]
    for first in (0, 1):
        side, grid = isqrt(count - first), isqrt(places)
        if side * side == count - first and grid * grid == places and side >= grid:
            square = patches[:, first:].transpose(1, 2).unflatten(2, (side, side))
            return nn.functional.adaptive_avg_pool2d(square, grid).flatten(2).transpose(1, 2)
    return nn.functional.adaptive_avg_pool1d(patches.transpose(1, 2), places).transpose(1, 2)
