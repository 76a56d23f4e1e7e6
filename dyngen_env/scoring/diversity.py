"""Measures of diversity: distinct-n over many texts, and the share of repeated n-grams within one."""

from __future__ import annotations

from collections.abc import Sequence


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct-n (Li et al., NAACL 2016): different word n-grams of all texts together, divided by all n-grams.

    In [0, 1]; 0 if there are none. Words are separated by spaces and compared in lower case.
    """
    grams = [gram for text in texts for gram in _ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repeated_share(text: str, n: int) -> float:
    """The share of a text's word n-grams that repeat an earlier one of the text, in [0, 1); 0 if there are none."""
    grams = _ngrams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
