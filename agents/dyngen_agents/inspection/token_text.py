"""Tokens as people can read them one by one: what cannot be seen gets a sign, half a character shows its bytes."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from dyngen_env.text.huggingface import HFTokenizer
from dyngen_env.text.media.tokens import FIRST
from dyngen_env.text.tokenizer import Tokenizer

SIGNS = {"\n": "⏎\n", "\t": "⇥\t", "\x7f": "␡"} | {chr(c): chr(0x2400 + c) for c in range(32) if c not in (9, 10)}


def visible(text: str) -> str:
    """Text in which everything can be seen and nothing steers a screen.

    Line breaks and tabs keep their place behind a sign. Other control characters become their pictures, and what has
    none (marks of writing direction, characters of no width) its number: ⟨U+202E⟩.
    """
    return "".join(SIGNS.get(c) or (c if c.isprintable() else f"⟨U+{ord(c):04X}⟩") for c in text)


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """One token by itself: its text, its name if it is a control token, its bytes if it is no whole character."""
    if not is_text(tokenizer, token):
        return _name(tokenizer, token)
    data = tokenizer.token_bytes[token]
    try:
        return visible(data.decode())
    except UnicodeDecodeError:
        return _hex(data)


def token_texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The tokens of a text, one string each: a character that several tokens spell stands at the last of them.

    The others show their bytes. Bytes that never become a character show as U+FFFD where that turns out.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    shown = []
    for token in ids:
        if not is_text(tokenizer, token):
            broken = decoder.decode(b"", final=True)
            shown.append(broken + _name(tokenizer, token))
            continue
        text = decoder.decode(tokenizer.token_bytes[token])
        shown.append(visible(text) if text else _hex(tokenizer.token_bytes[token]))
    return shown


def is_text(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token has text at all; control tokens have none, nor have places of media."""
    return token not in tokenizer.control_ids and token < FIRST and bool(tokenizer.token_bytes[token])


def _name(tokenizer: Tokenizer, token: int) -> str:
    if token >= FIRST:
        return "⟨media⟩"
    name = tokenizer.hf.convert_ids_to_tokens(token) if isinstance(tokenizer, HFTokenizer) else None
    return f"⟨{token}⟩" if name is None else visible(name)


def _hex(data: bytes) -> str:
    return f"⟨{data.hex(' ').upper()}⟩"
