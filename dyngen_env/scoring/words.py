"""What counts as a word: runs of letters and digits; in scripts written without spaces, each character."""

from __future__ import annotations

import re

_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # kana and Chinese characters
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+(?:['’-][^\W{_ALONE}]+)*")


def words_of(text: str) -> list[str]:
    """The words of a text, in order: "it's 好看" has three."""
    return _WORD.findall(text)


def any_word(words: tuple[str, ...]) -> re.Pattern[str]:
    """Matches each of some lower-case words where it stands by itself in lower-case text.

    A word that begins or ends with a character that stands alone may touch others there.
    """
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(f"{_border(w[0], '(?<!')}{re.escape(w)}{_border(w[-1], '(?!')}" for w in longest_first))


def _border(character: str, look: str) -> str:
    return "" if re.fullmatch(f"[{_ALONE}]", character) else rf"{look}\w)"
