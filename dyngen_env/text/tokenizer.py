"""The tokenizer protocol: what an environment asks of a tokenizer. `ByteTokenizer` is its simplest case.

Every token id has a fixed string of bytes (`token_bytes`), and the text of a completion is the concatenation of its
tokens' bytes. So a stop string or a banned word is found across token borders, and the tokens that an agent chose are
never encoded a second time, which could give other tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class Tokenizer(Protocol):
    """Text to token ids and back, with V = `len(tokenizer)` ids. `HFTokenizer` adapts those of Hugging Face to this.

    A tokenizer whose tokens carry the space after a word ("film ") may also have `word_end = b" "`: `decode` then drops
    that space at the end of a text. One with a control token for pictures and sounds may have it as `media_id`.
    """

    name: str
    """What it is called in error messages."""
    end_ids: frozenset[int]
    """Tokens by which the agent ends its turn: end of sequence (EOS), end of turn. A subset of `control_ids`."""
    control_ids: frozenset[int]
    """Tokens that are not text: BOS, EOS, padding, role tokens. Except for `end_ids` they are illegal actions."""

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """(V,) what each token writes within a text, in UTF-8; empty for control tokens."""

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Ids of text that follows other text. Text that spells a control token, such as "</s>", does not become it."""

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a prompt: BOS before it if this tokenizer adds one to texts, no EOS after it. Never empty."""

    def encode_opening(self, text: str) -> list[int]:
        """Ids that begin a dialogue: the user's first message, and the tokens around it up to the agent's turn."""

    def encode_reply(self, text: str, last: int, rating: float | None = None) -> list[int]:
        """Ids between two turns of the agent: what closes its turn, the user's message, and what opens its next turn.

        Args:
            text: the user's message.
            last: the last token of the agent's turn; one of `end_ids` has closed the turn already.
            rating: how the user rated the turn, written as a control token before the message; None writes none.

        Raises:
            ValueError: a rating, and the tokenizer has no tokens for ratings.
        """


def spell(tokenizer: Tokenizer, ids: Iterable[int]) -> bytes:
    """The bytes that ids write, one after the other. Control tokens, the -1 of empty places and media write none."""
    pieces, vocabulary = tokenizer.token_bytes, len(tokenizer.token_bytes)
    return b"".join([pieces[i] for i in ids if 0 <= i < vocabulary])


def decode(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of ids: their bytes as UTF-8. Bytes that are no whole character become U+FFFD."""
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
