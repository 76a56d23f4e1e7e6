"""A short string that tells vocabularies apart: files about token ids say by it which tokenizer they are for."""

from __future__ import annotations

import hashlib

from dyngen_env.text.tokenizer import Tokenizer


def vocabulary_fingerprint(tokenizer: Tokenizer) -> str:
    """`sha256:...` of what each id writes and of which ids end a turn: equal if equal ids mean the same text."""
    digest = hashlib.sha256()
    for data in tokenizer.token_bytes:
        digest.update(len(data).to_bytes(4, "big") + data)
    digest.update(repr(sorted(tokenizer.end_ids)).encode())
    return f"sha256:{digest.hexdigest()}"
