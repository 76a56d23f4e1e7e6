"""Panics of Rust code, which Hugging Face tokenizers are made of, as exceptions that callers catch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Turns a panic within the block into a RuntimeError with the same message.

    PyO3, which binds Rust to Python, raises panics as a class of its own, which cannot be imported and derives from
    BaseException: so `except Exception` lets it through, as it does Ctrl-C.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(f"panic in Rust: {error}") from error
