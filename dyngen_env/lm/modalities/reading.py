"""What a language model is given for rows of tokens: ids, or, where media are shown, embeddings with their vectors.

Shapes: N rows, T tokens, E the width of word embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from dyngen_env.lm.modalities.attached import blind, encoder_of
from dyngen_env.text.media.medium import find
from dyngen_env.text.media.tokens import is_media, numbers_and_places

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def model_inputs(model: PreTrainedModel, tokens: Tensor) -> dict[str, Tensor]:
    """`input_ids` (N, T) of tokens, -1 where empty; or `inputs_embeds` (N, T, E) if some of them are places of media.

    A model without an encoder is not asked to look for media on a GPU, which would wait for the host.

    Raises:
        ValueError: media are shown to a model that has no encoder for them, or nobody holds them any more.
    """
    if encoder_of(model) is None:
        if tokens.device.type == "cpu" and is_media(tokens).any():
            raise blind(model, "pictures or sounds")
        return {"input_ids": tokens.clamp(min=0)}
    if not is_media(tokens).any():
        return {"input_ids": tokens.clamp(min=0)}
    return {"inputs_embeds": token_embeddings(model, tokens)}


def token_embeddings(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Word embeddings (N, T, E) of tokens, -1 where empty, with the encoder's vectors in the places of media.

    Each medium is encoded once for all rows that show it, and gradients reach the encoder. Reads on the host.
    """
    words, encoder = model.get_input_embeddings(), encoder_of(model)
    shown = None if encoder is None else is_media(tokens)
    if encoder is None or shown is None or not shown.any():
        return words(tokens.clamp(min=0))
    numbers, places = numbers_and_places(tokens[shown])
    distinct, which = numbers.unique(return_inverse=True)
    vectors = encoder([find(number) for number in distinct.tolist()])  # (K, P, E)
    embeddings = words(tokens.masked_fill(shown, 0).clamp(min=0))
    return embeddings.index_put(shown.nonzero(as_tuple=True), vectors[which, places].to(embeddings.dtype))
