"""How many of some words a text mentions."""

from __future__ import annotations

import re
from collections.abc import Sequence


def share_mentioned(text: str, words: Sequence[str]) -> float:
    """The share of words (or phrases) that a text mentions, in [0, 1]: as whole words, in upper or lower case."""
    found = sum(bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)) for word in words)
    return found / len(words)
