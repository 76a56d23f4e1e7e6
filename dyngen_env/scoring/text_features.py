"""Text as a sparse vector: hashed word and character n-grams weighted by TF-IDF, and VADER's scores.

Hashing (Weinberger et al. 2009, arXiv 0902.2206) needs no vocabulary: an n-gram's place is a hash of its characters,
the same on every machine.
"""

from __future__ import annotations

import re
import zlib

import numpy as np

from dyngen_env.scoring.sentiment import vader_shares

WORD_BITS, CHARACTER_BITS = 16, 17
SIZE = 2**WORD_BITS + 2**CHARACTER_BITS + 4  # words, characters, VADER
CHARACTERS = (2, 3, 4, 5, 6)  # lengths of character n-grams
VADER_SCALE = 0.5  # against 1, the norm of each of the two other parts

_TOKEN = re.compile(r"[\w']+|[^\w\s]")
_PRIME, _MIX = np.uint64(1099511628211), np.uint64(0xBF58476D1CE4E5B9)


def ngrams(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Places (K,) int64, ascending, of the n-grams of a text in [0, SIZE - 4), and how often each occurs (K,)."""
    text = text.lower()
    words = np.array([zlib.crc32(t.encode("utf-8", "replace")) for t in ("", *_TOKEN.findall(text), "")], np.uint64)
    spaced = " ".join(["", *text.split(), ""])
    codes = np.frombuffer(spaced.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    places = [_places(words, n, WORD_BITS) for n in (1, 2)]
    places += [_places(codes, n, CHARACTER_BITS) + 2**WORD_BITS for n in CHARACTERS]
    return np.unique(np.concatenate(places), return_counts=True)


def features(text: str, idf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (K,) int64 and values (K,) float64 of what is not 0. idf: (SIZE - 4,), the weight of each n-gram.

    n-grams weigh (1 + log count) idf, words and characters each scaled to norm 1.
    """
    places, counts = ngrams(text)
    values = (1 + np.log(counts)) * idf[places]
    border = int(np.searchsorted(places, 2**WORD_BITS))
    for part in (values[:border], values[border:]):
        part /= max(float(np.sqrt(part @ part)), 1e-12)
    places = np.concatenate([places, np.arange(SIZE - 4, SIZE)])
    return places, np.concatenate([values, VADER_SCALE * np.array(vader_shares(text))])


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
