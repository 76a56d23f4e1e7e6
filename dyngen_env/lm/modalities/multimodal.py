"""Models of transformers that see by themselves (`AutoModelForImageTextToText`): their own vision tower as the encoder.

The part has no weights: they are the model's, and are saved, trained and frozen with it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from dyngen_env.lm.engine.compatibility import agree, first_line, model_name
from dyngen_env.lm.engine.forward import whole_rows
from dyngen_env.lm.engine.logits import lm_head
from dyngen_env.lm.modalities.attached import NAME, attach_encoder
from dyngen_env.lm.modalities.encoder import MediaEncoder
from dyngen_env.lm.modalities.pretrained import scaled
from dyngen_env.text.media import Picture
from dyngen_env.text.media.tokens import span

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HALF = (0.5, 0.5, 0.5)

log = logging.getLogger(__name__)


class OwnPictures(nn.Module):
    """What a multimodal model makes of a picture: `get_image_features`, one vector for each of its patches.

    Args:
        lm: the model. mean, std: of the colours from 0 to 1, which its vision tower was trained with.
    """

    def __init__(self, lm: PreTrainedModel, mean: Sequence[float] = HALF, std: Sequence[float] = HALF):
        super().__init__()
        self._lm, self.mean, self.std = (lm,), tuple(mean), tuple(std)  # in a tuple: the model is no module of this one
        with torch.no_grad():
            _, self.places, width = self([Picture(np.zeros((1, 1, 3), np.uint8))]).shape
        self.settings: dict[str, Any] = dict(width=width, places=self.places)

    def pixel_values(self, media: Sequence[Picture]) -> Tensor:
        """(K, 3, S, S) of K pictures of any size, as the vision tower takes them."""
        lm = self._lm[0]
        pixels = scaled(media, lm.config.vision_config.image_size)
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (self.mean, self.std))
        return ((pixels / 255 - mean) / std).to(lm.device, lm.dtype)

    def forward(self, media: Sequence[Picture]) -> Tensor:
        """(K, n, E) of K pictures."""
        base: Any = self._lm[0].base_model
        found = base.get_image_features(pixel_values=self.pixel_values(media))
        vectors = getattr(found, "pooler_output", found)  # the latter before transformers 5
        return vectors if isinstance(vectors, Tensor) else torch.stack([*vectors])


def attach_own_pictures(lm: PreTrainedModel, processor: dict[str, Any]) -> None:
    """Let a multimodal model see by its own vision tower, after a comparison with its own forward on a picture.

    One that reads pictures in another way than as vectors in the places of tokens is left blind, and a warning says so.

    Args:
        processor: what its `preprocessor_config.json` says.
    """
    try:
        colours = (processor.get("image_mean") or HALF, processor.get("image_std") or HALF)
        difference = _difference(lm, OwnPictures(lm, *colours))
    except Exception as error:  # whatever an architecture asks for that is not here
        difference = first_line(error)
    if difference:
        lm._modules.pop(NAME, None)
        log.warning(
            "%s is shown no pictures, as it does not read them as vectors in the places of tokens (%s): give it an "
            "encoder, by lm.modalities", model_name(lm), difference,
        )  # fmt: skip


@torch.no_grad()
def _difference(lm: PreTrainedModel, part: OwnPictures) -> str:
    """Attach the part; what tells logits of ours from the model's own, for a row with a picture; "" if nothing does."""
    attach_encoder(lm, MediaEncoder({"picture": part}))
    picture = Picture(np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8))
    words, image = [3, 4, 5], lm.config.image_token_id
    ours = torch.tensor([[*words, *span(picture, part.places), *words]], device=lm.device)
    own = torch.tensor([[*words, *[image] * part.places, *words]], device=lm.device)
    theirs = lm(input_ids=own, pixel_values=part.pixel_values([picture]), use_cache=False).logits
    return "" if agree(lm_head(lm, whole_rows(lm, ours)), theirs) else "its logits after a picture are others"


def sees_by_itself(lm: PreTrainedModel) -> bool:
    """Whether a model's encoder is its own vision tower."""
    encoder = cast("MediaEncoder | None", lm._modules.get(NAME))
    return encoder is not None and any(isinstance(part, OwnPictures) for part in encoder.parts.values())
