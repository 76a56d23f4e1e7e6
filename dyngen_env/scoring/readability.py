"""How easy English text is to read: Flesch (1948), "A new readability yardstick", J. Applied Psychology 32."""

from __future__ import annotations

import re

from dyngen_env.scoring.words import words_of

_SENTENCE_ENDS = re.compile(r"[.!?]+(?=\s|$|[\"')])")
_VOWELS = re.compile(r"[aeiouy]+")


def reading_ease(text: str) -> float:
    """206.835 - 1.015 words/sentences - 84.6 syllables/words; about 0 (hard) to 120 (easy), 0 without a word.

    Syllables are counted by spelling (`syllables`), not looked up; text after the last full stop is a sentence.
    """
    words = words_of(text)
    if not words:
        return 0.0
    rest = _SENTENCE_ENDS.split(text)
    sentences = max(1, sum(bool(words_of(part)) for part in rest))
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * sum(map(syllables, words)) / len(words)


def syllables(word: str) -> int:
    """Runs of vowels, without a silent e at the end ("made" 1, "table" 2, "idea" 2: it errs on some words)."""
    word = re.sub(r"[^a-z]", "", word.lower())
    silent = word.endswith("e") and not word.endswith(("le", "ee"))
    return max(1, len(_VOWELS.findall(word)) - silent)
