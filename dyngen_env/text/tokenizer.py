"""What the environment asks of a tokenizer: a small protocol, and plain bytes as its simplest case.

Every id has its bytes (`token_bytes`); the text of a completion is the concatenation of its tokens' bytes. So text
can be cut at a stop string across token borders, and tokens that an agent chose are never encoded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class Tokenizer(Protocol):
    """What the environment asks of a tokenizer. V = `len(tokenizer)`."""

    name: str
    end_ids: frozenset[int]  # tokens that end a turn: end of sequence, end of turn
    control_ids: frozenset[int]  # tokens that are no text: BOS, PAD, role tokens, `end_ids`

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """(V,) the text of each token in UTF-8, empty for control tokens."""

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Ids of plain text. Never a control token, whatever the text says."""

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a prompt with the tokenizer's own BOS policy; never empty."""

    def encode_opening(self, text: str) -> list[int]:
        """Ids of a dialogue's first user message, up to and with the header of the agent's turn."""

    def encode_reply(self, text: str, last: int, rating: float | None = None) -> list[int]:
        """Ids between two turns of the agent: what closes its turn (whose last token is `last`), a control token for
        the user's rating unless it is None, the user's words, the header of its next turn."""


def spell(tokenizer: Tokenizer, ids: Iterable[int]) -> bytes:
    """The bytes of some ids. Control tokens have none, nor has the -1 of an empty place."""
    return b"".join([tokenizer.token_bytes[i] for i in ids if i >= 0])


def decode(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of some ids: their bytes as UTF-8; broken characters become U+FFFD."""
    return as_text(tokenizer, spell(tokenizer, ids))


def as_text(tokenizer: Tokenizer, data: bytes) -> str:
    """Bytes that `spell` gave, as a text that ends with them: without the space that its last word brings along.

    Only tokenizers with a `word_end` of b" " have that space, see `text.token_bytes`.
    """
    return data.rstrip(getattr(tokenizer, "word_end", b"")).decode("utf-8", "replace")


class ByteTokenizer:
    """Bytes as tokens: ids 0 to 255, then BOS (256), EOS (257), end of turn (258) and user (259)."""

    name = "bytes"
    bos_id, eos_id, end_id, user_id = 256, 257, 258, 259
    end_ids = frozenset({257, 258})
    control_ids = frozenset({256, 257, 258, 259})
    token_bytes = tuple(bytes([i]) for i in range(256)) + (b"",) * 4

    def __len__(self) -> int:
        return len(self.token_bytes)

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8", "replace"))

    def encode_prompt(self, text: str) -> list[int]:
        return [self.bos_id, *self.encode(text)]

    def encode_opening(self, text: str) -> list[int]:
        return [self.bos_id, self.user_id, *self.encode(text), self.end_id]

    def encode_reply(self, text: str, last: int, rating: float | None = None) -> list[int]:
        if rating is not None:
            raise ValueError('tokenizer "bytes" has no tokens for ratings: use rating_tokens=False, or "reviews-lm"')
        closing = [] if last in self.end_ids else [self.end_id]
        return [*closing, self.user_id, *self.encode(text), self.end_id]
