"""Detects swearing and insults, also in disguise: by pyobscenity's English word list, and by words of your own."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from dyngen_env.scoring.words import any_word

_STRETCHED = re.compile(r"(.)\1{2,}")  # no English word has a letter three times in a row


def swears(text: str) -> bool:
    """Whether a text has an English obscenity or slur, also one spelt "sh1t", "shiiit" or with look-alike letters.

    Letters that are spaced apart ("s h i t") are not found: too much that is harmless looks like that.

    Raises:
        ImportError: the package `pyobscenity` is not installed.
    """
    return bool(text) and (_matcher()(text) or _matcher()(_STRETCHED.sub(r"\1", text)))


def mentions_any(text: str, words: tuple[str, ...]) -> bool:
    """Whether a text has one of some words as a whole word, in upper or lower case."""
    return bool(words) and any_word(tuple(word.lower() for word in words)).search(text.lower()) is not None


@cache
def _matcher() -> Callable[[str], bool]:
    try:
        from pyobscenity import check
    except ImportError as error:
        raise ImportError("the reward 'safety' needs a word list: pip install pyobscenity") from error
    return check
