"""The word error rate of a transcript."""

from __future__ import annotations

from collections.abc import Sequence

from dyngen_env.scoring.words import words_of


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """How many words of `heard` are wrong, and how many words `said` has; their ratio over many texts is the word error
    rate. Words are compared without case and punctuation.

    Errors are the substitutions, insertions and deletions that lead from one to the other, as few as can be
    (Levenshtein 1966).
    """
    reference, hypothesis = words_of(said.lower()), words_of(heard.lower())
    return _distance(reference, hypothesis), len(reference)


def _distance(a: Sequence[str], b: Sequence[str]) -> int:
    row = list(range(len(b) + 1))  # from the first i of `a` to the first j of `b`
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(before + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]
