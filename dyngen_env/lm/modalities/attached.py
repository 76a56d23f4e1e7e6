"""The encoder of a language model: a submodule of it, so that whoever has the model has its eyes and ears, too.

It moves, is copied, learns and is frozen with the model. The files of a model in Hugging Face's format know nothing of
it: `detached_encoder` takes it off while they are written, and it has files of its own beside them (`folder`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from dyngen_env.lm.modalities.encoder import MediaEncoder
from dyngen_env.text.media import MediaRoom

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

NAME = "media_encoder"  # of the submodule


def attach_encoder(lm: PreTrainedModel, encoder: MediaEncoder) -> None:
    """Let a model see and hear by an encoder, in place of one that it may have had.

    Raises:
        ValueError: the encoder's vectors are not as wide as the model's word embeddings.
    """
    width = embedding_width(lm)
    for kind in encoder.parts:
        found = encoder.part(kind).settings["width"]
        if found != width:
            raise ValueError(
                f"the encoder makes vectors of width {found} of a {kind}, and the model's word embeddings have "
                f"{width}: make it with width={width}"
            )
    lm.add_module(NAME, encoder.to(lm.device, lm.dtype).train(lm.training))


def embedding_width(lm: PreTrainedModel) -> int:
    """E, how wide the model's word embeddings are."""
    return cast("nn.Embedding", lm.get_input_embeddings()).weight.shape[1]


def encoder_of(lm: PreTrainedModel) -> MediaEncoder | None:
    """The model's encoder; None if it is blind and deaf."""
    return cast("MediaEncoder | None", lm._modules.get(NAME))


@contextmanager
def detached_encoder(lm: PreTrainedModel) -> Iterator[MediaEncoder | None]:
    """Within the block the model has no encoder. Gives the one that it had."""
    encoder = encoder_of(lm)
    lm._modules.pop(NAME, None)
    try:
        yield encoder
    finally:
        if encoder is not None:
            lm.add_module(NAME, encoder)


def check_encoder(lm: PreTrainedModel, room: MediaRoom, places: Mapping[str, int]) -> None:
    """Raises ValueError if a model cannot read what an env shows.

    Args:
        room: for the media of the env. places: how many tokens one takes there, by kind.
    """
    shown = [kind for kind, count in (("picture", room.pictures), ("sound", room.sounds)) if count]
    encoder = encoder_of(lm)
    if shown and encoder is None:
        raise blind(lm, f"{' and '.join(shown)}s")
    for kind in shown:
        assert encoder is not None
        if encoder.part(kind).places != places[kind]:
            raise ValueError(
                f"a {kind} takes {places[kind]} tokens in the env, and the model's encoder makes "
                f"{encoder.part(kind).places} vectors of one: make the env with model= the folder of this model"
            )


def blind(lm: PreTrainedModel, what: str) -> ValueError:
    """The error that says that a model has no encoder for what is shown."""
    name = lm.config._name_or_path or type(lm).__name__
    return ValueError(
        f"{what} are shown, and the model {name!r} has no encoder for them: take a model folder with an encoder.json, "
        "or give it one by lm.modalities.attach_encoder"
    )
