"""Whether a text swears or insults, also in disguise: pyobscenity's English list, and words of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from dyngen_env.scoring.words import any_word

_STRETCHED = re.compile(r"(.)\1{2,}")  # no English word has a letter three times in a row


def swears(text: str) -> bool:
    """Whether an English obscenity or slur occurs in a text, also spelt as "sh1t", "shiiit" or with look-alikes.

    Letters that are spaced apart ("s h i t") pass: too much that is harmless looks like it.

    Raises:
        ImportError: the package `pyobscenity` is not installed.
    """
    return bool(text) and (_matcher()(text) or _matcher()(_STRETCHED.sub(r"\1", text)))


def mentions_any(text: str, words: tuple[str, ...]) -> bool:
    """Whether one of some words, whatever the case, stands by itself in a text."""
    return bool(words) and any_word(tuple(word.lower() for word in words)).search(text.lower()) is not None


@cache
def _matcher() -> Callable[[str], bool]:
    try:
        from pyobscenity import check
    except ImportError as error:
        raise ImportError("the reward 'safety' needs a word list: pip install pyobscenity") from error
    return check
