"""Media among the tokens of a context: a span of numbers above every vocabulary, which say what is shown there.

A medium takes n places of a row, n being fixed for its kind. In the state these hold n consecutive numbers that name
the medium by its content, so that a row of tokens is the whole history of an episode with media, too: it can be copied,
cut, compared and cached as ever. Only who reads tokens must know: a language model puts the vectors of its encoder
there (`lm.modalities`), and an agent that knows no more than the vocabulary is shown a control token
(`as_placeholders`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from dyngen_env.text.media.medium import Medium, find

FIRST = 2**62  # tokens from here on are places of media
MOST = 2**12  # how many places a medium may have


def span(medium: Medium, places: int) -> list[int]:
    """The tokens of a medium that takes so many places, from 1 to 4096."""
    first = FIRST + medium.number * MOST
    return list(range(first, first + places))


def before_words(ids: Sequence[int], at: int, media: Sequence[Medium], places: Mapping[str, int]) -> list[int]:
    """The ids of a message with its media before its words.

    The last token of a message is never a place of media: where there are no words they stand before everything.

    Args:
        at: the position at which the words begin (`words_begin`). places: how many a medium takes, by kind.
    """
    at = at if at < len(ids) else 0
    shown = [token for medium in media for token in span(medium, places[medium.kind])]
    return [*ids[:at], *shown, *ids[at:]]


def message(
    encode: Callable[[str], list[int]], text: str, media: Sequence[Medium], places: Mapping[str, int]
) -> list[int]:
    """The ids of a text with media before it: `encode` puts its words among other tokens, such as those of a turn."""
    ids = encode(text)
    return before_words(ids, words_begin(encode), media, places) if media else ids


def words_begin(encode: Callable[[str], list[int]]) -> int:
    """The position at which the words begin that `encode` puts among other tokens, such as those that open a turn."""
    without, with_words = encode(""), encode("a")
    differ = (i for i, (a, b) in enumerate(zip(without, with_words, strict=False)) if a != b)
    return next(differ, min(len(without), len(with_words)))


def is_media(tokens: torch.Tensor) -> torch.Tensor:
    """Which of the tokens are places of media: bool, of the same shape."""
    return tokens >= FIRST


def numbers_and_places(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of tokens (M,) that are places of media: whose, as `Medium.number`, and which of its places; (M,) int64 each."""
    offset = tokens - FIRST
    return offset // MOST, offset % MOST


def media_of(tokens: Iterable[int]) -> tuple[Medium, ...]:
    """The media that a row of tokens shows, in order. Raises ValueError if nobody holds one of them any more."""
    begins = (token - FIRST for token in tokens if token >= FIRST)
    return tuple(find(offset // MOST) for offset in begins if offset % MOST == 0)


def as_placeholders(tokens: torch.Tensor, placeholder: int) -> torch.Tensor:
    """The tokens with a control token of the vocabulary in the places of media."""
    return torch.where(is_media(tokens), placeholder, tokens)
