"""The parts of encoders by name, and encoders made of them: small ones of our own, or those of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from dyngen_env.lm.discriminators.discriminator import seeded
from dyngen_env.lm.modalities.attached import embedding_width
from dyngen_env.lm.modalities.encoder import MediaEncoder
from dyngen_env.lm.modalities.picture import PictureConvnet
from dyngen_env.lm.modalities.pretrained import PretrainedPictures, PretrainedSounds, backbone_from, backbone_of
from dyngen_env.lm.modalities.sound import SoundConvnet
from dyngen_env.lm.modalities.utterance_part import UtterancePart
from dyngen_env.text.media.picture import LONGEST_SIDE
from dyngen_env.text.media.sound import LONGEST

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PLACES = {"picture": 4, "sound": 16}  # how many tokens a medium takes where no encoder says otherwise
PARTS: dict[str, Callable[..., nn.Module]] = {
    kind.__name__: kind for kind in (PictureConvnet, SoundConvnet, UtterancePart, PretrainedPictures, PretrainedSounds)
}


def part_from(settings: Mapping[str, Any]) -> nn.Module:
    """A part with random weights, by what `as_settings` says of it.

    Raises:
        ValueError: it names no part, or one that cannot be made with these settings.
    """
    given = dict(settings)
    name = given.pop("part", None)
    if name not in PARTS:
        raise ValueError(f"an encoder has a part {name!r}: expected one of {', '.join(PARTS)}")
    if "architecture" in given:
        given["backbone"] = backbone_of(given.pop("architecture"), given.pop("config"))
    try:
        return PARTS[name](**given)
    except TypeError as error:
        raise ValueError(f"part {name} of an encoder cannot be made ({error})") from error


def as_settings(part: Any) -> dict[str, Any]:
    """The class and the settings of a part, in values that JSON can hold."""
    return {"part": type(part).__name__, **part.settings}


def small_encoder(
    lm: PreTrainedModel,
    *,
    pictures: tuple[int, int] | None = None,
    sounds: float | None = None,
    places: Mapping[str, int] = PLACES,
    seed: int = 0,
) -> MediaEncoder:
    """An encoder of our own for a model, untrained.

    Args:
        pictures: (H, W) of the pictures that it reads; None: it reads none.
        sounds: how many seconds of sound it hears, at most; None: it hears none.
        places: how many vectors it makes of a medium, by kind.
        seed: of its first weights.

    Raises:
        ValueError: it would read nothing, or media that there cannot be.
    """
    if pictures is None and sounds is None:
        raise ValueError("an encoder that reads neither: give pictures=(H, W), sounds=SECONDS, or both")
    if pictures is not None and not all(1 <= side <= LONGEST_SIDE for side in pictures):
        raise ValueError(f"pictures={pictures!r}: expected (H, W), from 1 to {LONGEST_SIDE} pixels each")
    if sounds is not None and not 0 < sounds <= LONGEST:
        raise ValueError(f"sounds={sounds!r}: expected seconds, above 0 and at most {LONGEST}")
    width = embedding_width(lm)
    made: dict[str, Callable[[], nn.Module]] = {}
    if pictures is not None:
        made["picture"] = lambda: PictureConvnet(width, pictures, places["picture"])
    if sounds is not None:
        made["sound"] = lambda: SoundConvnet(width, sounds, places["sound"])
    return MediaEncoder(seeded(seed, lambda: {kind: make() for kind, make in made.items()}))


def pretrained_encoder(
    lm: PreTrainedModel,
    *,
    pictures: str | None = None,
    sounds: str | None = None,
    frozen: bool = True,
    places: Mapping[str, int] = PLACES,
    seed: int = 0,
) -> MediaEncoder:
    """An encoder of transformers for a model, with projections that are untrained.

    Args:
        pictures, sounds: folders of a vision model and of a speech encoder, or one of them.
        frozen: whether only the projections learn.
        places, seed: as of `small_encoder`; the seed is of the projections.

    Raises:
        ValueError: a folder has no such encoder.
    """
    width = embedding_width(lm)
    made: dict[str, Callable[[], nn.Module]] = {}
    if pictures is not None:
        seeing = backbone_from(pictures)
        made["picture"] = lambda: PretrainedPictures(seeing, width, places["picture"], frozen)
    if sounds is not None:
        hearing = backbone_from(sounds)
        made["sound"] = lambda: PretrainedSounds(hearing, width, places["sound"], frozen)
    return MediaEncoder(seeded(seed, lambda: {kind: make() for kind, make in made.items()}))
