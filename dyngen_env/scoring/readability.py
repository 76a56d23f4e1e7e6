"""Readability of English text: the Flesch reading ease (Flesch 1948, J. Applied Psychology 32, 221-233)."""

from __future__ import annotations

import re

from dyngen_env.scoring.words import words_of

_SENTENCE_ENDS = re.compile(r"[.!?]+(?=\s|$|[\"')])")
_VOWELS = re.compile(r"[aeiouy]+")


def reading_ease(text: str) -> float:
    """The Flesch reading ease: 206.835 - 1.015 words/sentences - 84.6 syllables/words.

    About 0 (hard) to 120 (easy); 0 for a text without a word. Syllables are counted by spelling (`syllables`) and not
    looked up. Words after the last full stop count as a sentence.
    """
    words = words_of(text)
    if not words:
        return 0.0
    rest = _SENTENCE_ENDS.split(text)
    sentences = max(1, sum(bool(words_of(part)) for part in rest))
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * sum(map(syllables, words)) / len(words)


def syllables(word: str) -> int:
    """An estimate of a word's syllables: its groups of vowels, not counting a silent e at its end; at least 1.

    "made" has 1, "table" 2. It errs on some words: "idea" has 2.
    """
    word = re.sub(r"[^a-z]", "", word.lower())
    silent = word.endswith("e") and not word.endswith(("le", "ee"))
    return max(1, len(_VOWELS.findall(word)) - silent)
