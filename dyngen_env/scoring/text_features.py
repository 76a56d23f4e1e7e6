"""Features of a text for linear models: a sparse vector of word and character n-grams, and VADER's scores.

N-grams are weighted by TF-IDF. They are hashed (Weinberger et al. 2009, arXiv 0902.2206), which needs no vocabulary:
the place of an n-gram in the vector is a hash of its characters, the same on every machine.
"""

from __future__ import annotations

import re
import zlib

import numpy as np

from dyngen_env.scoring.sentiment import vader_shares

WORD_BITS, CHARACTER_BITS = 18, 20
GRAMS = 2**WORD_BITS + 2**CHARACTER_BITS
SIZE = GRAMS + 4  # n-grams of words, n-grams of characters, VADER's scores
CHARACTERS = (3, 4, 5, 6)  # lengths of the n-grams of characters, which stay within a word and its borders
NEGATED = 3  # words after a negation that are counted as negated, too
VADER_SCALE = 0.5  # the norm of each of the two other parts is 1

_TOKEN = re.compile(r"[\w']+|[^\w\s]")
_NEGATIONS = frozenset(
    ("no", "not", "never", "without", "neither", "nor", "hardly", "barely", "lacks", "lack", "cannot")
)
_SPACE = ord(" ")
_PRIME, _MIX = np.uint64(1099511628211), np.uint64(0xBF58476D1CE4E5B9)


def ngrams(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Which n-grams a text has: their K places in [0, GRAMS), ascending, and how often each occurs: (K,) int64 each."""
    tokens = _TOKEN.findall(text.lower())
    words, negated = _hashes(["", *tokens, ""]), _hashes(_after_negations(tokens))
    places = [_places(words, 1, WORD_BITS), _places(words, 2, WORD_BITS), _places(negated, 1, WORD_BITS)]
    codes = np.frombuffer("".join(f" {t} " for t in tokens).encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    borders = np.cumsum([0, *((codes[:-1] == _SPACE) & (codes[1:] == _SPACE))])  # where one word ends and one begins
    for n in CHARACTERS:
        found = _places(codes, n, CHARACTER_BITS) + 2**WORD_BITS
        places.append(found[borders[n - 1 : n - 1 + len(found)] == borders[: len(found)]])
    return np.unique(np.concatenate(places), return_counts=True)


def features(text: str, idf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The features of a text as the K entries of a sparse vector of length SIZE.

    An n-gram's value is (1 + log count) idf. The n-grams of words and those of characters are each scaled to norm 1.

    Args:
        idf: (GRAMS,), the weight of each n-gram.

    Returns:
        The places (K,) int64 of the entries and their values (K,) float64.
    """
    places, counts = ngrams(text)
    values = (1 + np.log(counts)) * idf[places]
    border = int(np.searchsorted(places, 2**WORD_BITS))
    for part in (values[:border], values[border:]):
        part /= max(float(np.sqrt(part @ part)), 1e-12)
    scores = VADER_SCALE * np.array(vader_shares(text))
    return np.concatenate([places, np.arange(GRAMS, SIZE)]), np.concatenate([values, scores])


def _after_negations(tokens: list[str]) -> list[str]:
    """The words up to `NEGATED` places after a negation, marked as such."""
    out, left = [], 0
    for token in tokens:
        if left > 0 and token.isalpha():
            out.append(f"not {token}")
        left = NEGATED if token in _NEGATIONS or token.endswith("n't") else left - 1
    return out


def _hashes(tokens: list[str]) -> np.ndarray:
    return np.array([zlib.crc32(t.encode("utf-8", "replace")) for t in tokens], dtype=np.uint64)


def _places(symbols: np.ndarray, n: int, bits: int) -> np.ndarray:
    """Hashes in [0, 2**bits) of the n-grams of symbols (T,) uint64."""
    if len(symbols) < n:
        return np.empty(0, dtype=np.int64)
    with np.errstate(over="ignore"):
        z = np.full(len(symbols) - n + 1, n, dtype=np.uint64)
        for i in range(n):
            z = (z ^ symbols[i : len(symbols) - n + 1 + i]) * _PRIME
        z = (z ^ (z >> np.uint64(29))) * _MIX
    return (z >> np.uint64(64 - bits)).astype(np.int64)
