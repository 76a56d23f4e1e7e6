"""Measures of diversity: distinct-n over many texts, at equal length too, and the share of repeats within one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct-n (Li et al., NAACL 2016): different word n-grams of all texts together, divided by all n-grams.

    In [0, 1]; 0 if there are none. Words are separated by spaces and compared in lower case.
    """
    grams = [gram for text in texts for gram in _ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def ngram_counts(text: str, n: int) -> Counter[tuple[str, ...]]:
    """How often each word n-gram stands in a text."""
    return Counter(_ngrams(text, n))


def rarefied(often: Mapping[int, int], size: int) -> float:
    """How many of `size` n-grams that are drawn at random, without putting them back, are different; as a share.

    Distinct-n falls as texts grow longer, since they have more n-grams to repeat; at an equal number of them texts of
    any length compare (rarefaction: Hurlbert 1971, "The nonconcept of species diversity", eq. 5):

        1/M Σ_g 1 - C(T - c_g, M)/C(T, M),  T = Σ_g c_g

    Args:
        often: how many n-grams stand in the texts c times, by c. size: M; all T are taken where there are fewer.
    """
    total = sum(c * n for c, n in often.items())
    size = min(size, total)
    if not size:
        return 0.0
    return sum(n * (1 - _missed(c, size, total)) for c, n in often.items()) / size


def _missed(count: int, size: int, total: int) -> float:
    """C(T - c, M)/C(T, M) = Π (T - M - i)/(T - i) for i < c: none of c is among M of T."""
    return prod((total - size - i) / (total - i) for i in range(count))


def repeated_share(text: str, n: int) -> float:
    """The share of a text's word n-grams that repeat an earlier one of the text, in [0, 1); 0 if there are none."""
    grams = _ngrams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
