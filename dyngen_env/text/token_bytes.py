"""The bytes that each token of a Hugging Face tokenizer writes, found by letting it decode.

Vocabularies note spaces, word ends and bytes in many ways ("Ġfilm", "▁film", "##ing", "film</w>", "<0xC3>"), and what
they mean is up to the tokenizer's decoder. So nobody reads that notation here. Each token is decoded between two copies
of an ordinary token, and what stands between them is what it writes within a text:

    decode([the, ing, the]) = "theing the", decode([the, the]) = "the the"   =>   ing writes "ing"

Only pieces of characters, which decode to U+FFFD, are read from their notation. Then many sequences of tokens are
decoded at once: if they do not come out as the concatenation, a token's text depends on those around it, and no such
tokenizer can be used.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from dyngen_env.text.panics import panics_as_errors

ANCHORS, SAMPLE = 8, 200  # ordinary tokens that are tried, and tokens by which each is judged
CHECKED = 5_000  # tokens in the sequences that are decoded in the end; more where the vocabulary is larger
PROBES = ("the film was good", "Ünïcode 漢字 \U0001f642, it's 5 o'clock.")
BROKEN = "\ufffd"  # a decoder's mark for bytes that are no whole character


class UnusableTokenizer(ValueError):
    """The text of ids is not the concatenation of what each of them writes. The message is the end of a sentence."""


def token_bytes(hf: Any, size: int, silent: Collection[int]) -> tuple[tuple[bytes, ...], bytes]:
    """What each id writes within a text, in UTF-8, and what a text does not end in.

    The second is b" " if tokens carry the space after their word ("film</w>"), which a decoder drops after the last
    word, else b"".

    Args:
        hf: the tokenizer. size: V.
        silent: ids that are no text, such as special tokens; they write nothing.

    Raises:
        UnusableTokenizer: the text of ids is not the concatenation of what each of them writes.
    """
    ids = [i for i in range(size) if i not in silent]
    sample = random.Random(0).sample(ids, min(SAMPLE, len(ids)))
    failure = UnusableTokenizer("it decodes every token to nothing")
    for anchor, before, after in _frames(hf, sample):
        try:
            for some in (sample, ids):
                written, noted = _written(hf, some, anchor, before, after)
                _check(hf, {i: data for i, data in written.items() if i not in noted}, anchor, before, after)
            _check_probes(hf, written, anchor, before, after)
        except UnusableTokenizer as error:
            failure = error
            continue
        return tuple(written.get(i, b"") for i in range(size)), _dropped_at_the_end(hf, written, anchor, before)
    raise failure


def _frames(hf: Any, sample: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """(anchor, before, after): an ordinary token, and what stands before and after a token between two of it.

    Where the text of two anchors is cut is a guess: first before a space that may be there, then after it.
    """
    alone = dict(zip(sample, _decoded(hf, [[i] for i in sample]), strict=True))
    words = [i for i in sample if alone[i].strip() and BROKEN not in alone[i]]
    words.sort(key=lambda i: not (alone[i].isascii() and alone[i].strip().isalpha()))  # words of letters first
    for anchor in words[:ANCHORS]:
        [both], one = _decoded(hf, [[anchor, anchor]]), alone[anchor]
        if both.startswith(one):
            yield anchor, one, both[len(one) :]
        if both.endswith(one) and not both.startswith(one + both[: -len(one)]):
            yield anchor, both[: -len(one)], one


def _written(
    hf: Any, ids: Sequence[int], anchor: int, before: str, after: str
) -> tuple[dict[int, bytes], frozenset[int]]:
    """What ids write, and those of them whose bytes come from their notation."""
    out, noted = {}, set()
    for i, text in zip(ids, _decoded(hf, [[anchor, i, anchor] for i in ids]), strict=True):
        if len(text) < len(before) + len(after) or not (text.startswith(before) and text.endswith(after)):
            raise UnusableTokenizer(f"token {i} changes the tokens beside it: they decode to {text!r}")
        said = text[len(before) : len(text) - len(after)]
        if BROKEN in said:
            noted.add(i)
        out[i] = _noted(hf, i, said) if i in noted else said.encode("utf-8", "replace")
    return out, frozenset(noted)


def _noted(hf: Any, token: int, said: str) -> bytes:
    """The bytes of a piece of a character, from the vocabulary's notation."""
    piece = hf.convert_ids_to_tokens(token)
    if isinstance(piece, bytes):
        return piece
    if token in hf.added_tokens_decoder:
        return piece.encode()
    if re.fullmatch("<0x[0-9A-Fa-f]{2}>", piece):
        return bytes([int(piece[3:5], 16)])
    if all(char in BYTE_OF for char in piece):
        return bytes(BYTE_OF[char] for char in piece)
    if BROKEN in piece:  # the mark itself is a character of the vocabulary
        return said.encode()
    raise UnusableTokenizer(f"token {token} ({piece!r}) decodes to {said!r}, and its bytes cannot be told")


def _check(hf: Any, written: dict[int, bytes], anchor: int, before: str, after: str) -> None:
    """Decode the tokens in random orders, each twice in a row, and compare with the concatenation."""
    chance, whole = random.Random(1), list(written)
    order: list[int] = []
    while len(order) < max(CHECKED, 2 * len(whole)):
        order += [i for i in chance.sample(whole, len(whole)) for _ in range(2)]
    [text] = _decoded(hf, [[anchor, *order, anchor]])
    expected = before + b"".join([written[i] for i in order]).decode() + after
    if text != expected:
        at = next((i for i, (a, b) in enumerate(zip(text, expected, strict=False)) if a != b), len(expected))
        near = slice(max(0, at - 10), at + 10)
        raise UnusableTokenizer(
            f"it decodes tokens to {text[near]!r} that one by one write {expected[near]!r}: what a token writes "
            "depends on those around it"
        )


def _check_probes(hf: Any, written: dict[int, bytes], anchor: int, before: str, after: str) -> None:
    """The same for texts, which have characters that are made of several tokens."""
    for probe in PROBES:
        ids = _encoded(hf, probe)
        [text] = _decoded(hf, [[anchor, *ids, anchor]])
        ours = b"".join([written.get(i, b"") for i in ids]).decode("utf-8", "replace")
        if text != before + ours + after:
            said = text[len(before) : len(text) - len(after)]
            raise UnusableTokenizer(f"it decodes the tokens of {probe!r} to {said!r}, one by one they write {ours!r}")


def _dropped_at_the_end(hf: Any, written: dict[int, bytes], anchor: int, before: str) -> bytes:
    words = [i for i, data in written.items() if data.endswith(b" ")][:SAMPLE]
    texts = _decoded(hf, [[anchor, i] for i in words])
    kept = [text == before + written[i].decode("utf-8", "replace") for i, text in zip(words, texts, strict=True)]
    return b"" if all(kept) else b" "


def _decoded(hf: Any, sequences: Sequence[list[int]]) -> list[str]:
    """What a tokenizer says of several sequences of ids, special tokens left out."""
    backend = getattr(hf, "backend_tokenizer", None)
    try:
        with panics_as_errors():
            if backend is None or hf.clean_up_tokenization_spaces or len(sequences) == 1:
                return [hf.decode(ids, skip_special_tokens=True) for ids in sequences]
            return backend.decode_batch(sequences, skip_special_tokens=True)  # the same, much faster
    except Exception as error:  # a decoder may raise anything
        raise UnusableTokenizer(f"it cannot decode its own tokens ({type(error).__name__}: {error})") from error


def _encoded(hf: Any, text: str) -> list[int]:
    try:
        with panics_as_errors():
            return hf.encode(text, add_special_tokens=False)
    except Exception as error:
        raise UnusableTokenizer(f"it cannot encode {text!r} ({type(error).__name__}: {error})") from error


def _byte_level_alphabet() -> dict[str, int]:
    """The byte that a character stands for in GPT-2's notation (Radford et al. 2019, encoder.py): printable bytes
    stand for themselves, the others have the characters from U+0100 on, in order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(rest)}


BYTE_OF = _byte_level_alphabet()
