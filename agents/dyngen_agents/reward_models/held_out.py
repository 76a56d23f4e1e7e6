"""Which texts a reward model is measured on: a tenth of the prompts, by their hash."""

from __future__ import annotations

import hashlib


def is_held_out(prompt: str, *texts: str) -> bool:
    """By a hash of the prompt, so that no prompt is on both sides; of the whole where there is no prompt."""
    key = prompt or "\n".join((prompt, *texts))
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()[0] % 10 == 0
