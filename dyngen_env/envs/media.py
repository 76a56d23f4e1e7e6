"""How an env shows pictures and sounds: their places among the tokens, and their arrays in observations of kind "dict".

An env without media has one of these, too, with no room in it: it changes nothing and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from dyngen_env.text.media import MediaRoom, Medium, Picture, Sound
from dyngen_env.text.media.medium import find
from dyngen_env.text.media.tokens import as_placeholders, before_words, is_media, numbers_and_places
from dyngen_env.text.tokenizer import Tokenizer


class ShownMedia:
    """Writes media into rows of tokens, and reads them there.

    Args:
        room: for how many a context has room, and how large they are.
        of_example, of_answer: what one example and one answer may show of them; None: all.
        places: how many tokens one takes, by kind ("picture", "sound").
        tokenizer: gives the control token that stands for media where a token has to be one of the vocabulary.
    """

    def __init__(
        self,
        room: MediaRoom,
        places: Mapping[str, int],
        tokenizer: Tokenizer,
        *,
        of_example: MediaRoom | None = None,
        of_answer: MediaRoom | None = None,
    ):
        self.of_example = room if of_example is None else of_example
        self.of_answer = room if of_answer is None else of_answer
        self.room, self.places, self.placeholder = room, dict(places), _placeholder(tokenizer)
        self._any = bool(room)  # asked at each step

    def before_words(self, ids: Sequence[int], at: int, media: Sequence[Medium]) -> list[int]:
        """The ids of a prompt with its media before its words, which begin at position `at` (`tokens.before_words`).

        Raises:
            ValueError: an example has no room for the media.
        """
        self.of_example.check(media)
        return before_words(ids, at, media, self.places)

    def in_vocabulary(self, tokens: torch.Tensor) -> torch.Tensor:
        """Rows of tokens for those who know nothing but the vocabulary: with a control token in the places of media."""
        return as_placeholders(tokens, self.placeholder) if self._any else tokens

    def spaces(self) -> dict[str, Any]:
        """The spaces of `arrays`, of one row: a `Box` each."""
        room, found = self.room, dict[str, Any]()
        if room.pictures:
            found["pictures"] = spaces.Box(0, 255, (room.pictures, *room.picture_size, 3), np.uint8)
        if room.sounds:
            found["sounds"] = spaces.Box(-1, 1, (room.sounds, room.samples), np.float32)
        return found

    def arrays(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """What rows (B, L) show, in order: `pictures` (B, P, H, W, 3) uint8 and `sounds` (B, S, T) float32, those that
        the env has room for; zero in places that are empty. Reads on the host."""
        arrays = {name: np.zeros((len(tokens), *box.shape), box.dtype) for name, box in self.spaces().items()}
        if not arrays:
            return {}
        places = is_media(tokens).nonzero()  # (M, 2), in order of rows and positions
        numbers, place = numbers_and_places(tokens[places[:, 0], places[:, 1]])
        begins = place == 0
        seen = dict.fromkeys(arrays, 0), -1
        for row, number in zip(places[begins, 0].tolist(), numbers[begins].tolist(), strict=True):
            seen = seen if row == seen[1] else (dict.fromkeys(arrays, 0), row)
            medium, counts = find(number), seen[0]
            name = "pictures" if isinstance(medium, Picture) else "sounds"
            content = medium.samples if isinstance(medium, Sound) else medium.pixels  # type: ignore[attr-defined]
            arrays[name][row, counts[name]][: len(content)] = content
            counts[name] += 1
        return {name: torch.from_numpy(array).to(tokens.device) for name, array in arrays.items()}


def _placeholder(tokenizer: Tokenizer) -> int:
    """The control token that stands for media: the tokenizer's `media_id` if it has one, else its lowest."""
    own = getattr(tokenizer, "media_id", None)
    if own is not None:
        return own
    return min(tokenizer.control_ids - tokenizer.end_ids, default=min(tokenizer.control_ids, default=0))
