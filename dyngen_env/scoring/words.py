"""Splits text into words: runs of letters and digits, and in scripts without spaces each character by itself."""

from __future__ import annotations

import re

_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # kana and Chinese characters
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+(?:['’-][^\W{_ALONE}]+)*")


def words_of(text: str) -> list[str]:
    """The words of a text, in order: "it's 好看" has the three words "it's", "好" and "看"."""
    return _WORD.findall(text)


def any_word(words: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern that finds any of some words, in lower case, as whole words of a text in lower case.

    A word that begins or ends with a Chinese or Japanese character may touch other characters there, since such scripts
    have no spaces between words.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for word in sorted(words, key=len, reverse=True):
        borders = "" if _alone(word[0]) else r"(?<!\w)", "" if _alone(word[-1]) else r"(?!\w)"
        groups.setdefault(borders, []).append(re.escape(word))
    # One look at the border for all words: ten times as fast as one for each.
    return re.compile("|".join(f"{before}(?:{'|'.join(group)}){after}" for (before, after), group in groups.items()))


def _alone(character: str) -> bool:
    return re.fullmatch(f"[{_ALONE}]", character) is not None
