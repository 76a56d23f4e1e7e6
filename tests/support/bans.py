"""Banned words that a random model writes at once if nobody holds it back, and a search for them in texts.

Every letter that stands by itself, and some marks wherever they stand. The search knows nothing of the automaton.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

MARKS = "!,.;:?()"
WORDS = (*string.ascii_lowercase, *MARKS)
PROMPTS = ["The film", "We saw it and"]  # none is in them
_FOUND = re.compile(rf"(?<![A-Za-z0-9_])[a-z](?![A-Za-z0-9_])|[{re.escape(MARKS)}]", re.IGNORECASE)


def banned_in(texts: Iterable[str], prompts: Iterable[str]) -> list[str]:
    """Those texts in which a banned word is, each read after its prompt."""
    return [text for text, prompt in zip(texts, prompts, strict=True) if _FOUND.search(prompt + text)]
