"""Sentence embeddings, for rewards that compare texts by meaning: from a language model or any sentence encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
import torch

from dyngen_env.arguments import named_device
from dyngen_env.assets.reviews import film_prompts
from dyngen_env.lm.engine.heads import hidden_states
from dyngen_env.lm.loading.exclusive import exclusive
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.text.huggingface import adapted
from dyngen_env.text.padding import pad_rows

SENTENCE_TRANSFORMERS = "sentence-transformers/"  # names that begin so are models of that package
ORDINARY = 64  # texts whose mean is the origin


class Encoder(Protocol):
    """A sentence encoder, such as `SentenceTransformer` of the package sentence-transformers."""

    def encode(self, sentences: list[str]) -> Any:
        """One vector for each of N sentences: (N, D) floats, as an array or a tensor."""


class MeanHiddenState:
    """Sentence embeddings from a causal language model: the mean of a text's last hidden states, centred.

    From that mean the mean of ordinary texts (film reviews) is subtracted: without it all texts lie in nearly one
    direction (Mu and Viswanath 2018, "All-but-the-Top").

    Args:
        model: the language model's name, as for an env's `model=`; it is loaded at the first text.
        device: where it runs.
    """

    def __init__(self, model: str, device: torch.device | str = "cpu"):
        self.model, self.device = model, named_device(device)

    def encode(self, sentences: list[str]) -> np.ndarray:
        """(N, D) float32."""
        return self._means(sentences) - self._ordinary

    @cached_property
    def _ordinary(self) -> np.ndarray:
        return self._means(list(film_prompts("train")[:ORDINARY])).mean(0)

    @torch.no_grad()
    def _means(self, sentences: list[str]) -> np.ndarray:
        lm, tokenizer = load_model(self.model, device=self.device), adapted(load_tokenizer(self.model))
        ids = [tokenizer.encode(text) or tokenizer.encode_prompt("") for text in sentences]
        tokens = pad_rows(ids).to(self.device)
        there = (tokens >= 0).unsqueeze(2)  # (N, T, 1)
        return ((hidden_states(lm, tokens).float() * there).sum(1) / there.sum(1)).cpu().numpy()


def as_encoder(encoder: Any, device: torch.device | str = "cpu") -> Encoder:
    """A sentence encoder from a name or an object.

    Args:
        encoder: the name of a language model ("reviews-lm", "smollm2", a folder, a hub id); a name that begins with
            "sentence-transformers/", which needs that package; or an object with `encode(sentences) -> (N, D)`, which
            is returned as it is.
        device: where a named model runs.

    Raises:
        TypeError: neither a name nor an object with `encode`.
        ImportError: the package sentence-transformers is not installed.
    """
    if isinstance(encoder, str):
        return _named(encoder, str(device))
    if not callable(getattr(encoder, "encode", None)):
        raise TypeError(f"encoder={encoder!r}: expected a name, or an object with encode(sentences) -> (N, D) floats")
    return encoder


@lru_cache(maxsize=4)
def _named(name: str, device: str) -> Encoder:
    if not name.startswith(SENTENCE_TRANSFORMERS):
        return MeanHiddenState(name, device)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(f"encoder={name!r} needs a package: pip install sentence-transformers") from error
    with exclusive():
        return SentenceTransformer(name, device=device)


def cosines(encoder: Encoder, texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Cosine similarities of the embeddings of N texts with those of M others: (N, M) float64 in [-1, 1].

    A text whose embedding is 0 has similarity 0 with all others.

    Raises:
        ValueError: the encoder does not give one finite vector for each text.
    """
    both = [*texts, *others]
    vectors = encoder.encode(both)
    vectors = vectors.numpy(force=True) if isinstance(vectors, torch.Tensor) else np.asarray(vectors)
    vectors = vectors.astype(np.float64)
    if vectors.ndim != 2 or len(vectors) != len(both) or not np.isfinite(vectors).all():
        raise ValueError(
            f"encoder {type(encoder).__name__} gave shape {vectors.shape} for {len(both)} texts: "
            f"expected ({len(both)}, D) finite floats"
        )
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.clip(units[: len(texts)] @ units[len(texts) :].T, -1.0, 1.0)
