"""Which words a text mentions."""

from __future__ import annotations

import re
from collections.abc import Sequence


def share_mentioned(text: str, words: Sequence[str]) -> float:
    """The share of words (or phrases) that occur in the text as whole words, whatever their case; in [0, 1]."""
    found = sum(bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)) for word in words)
    return found / len(words)
