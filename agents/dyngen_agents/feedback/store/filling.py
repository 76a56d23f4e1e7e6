"""A store that something is put into: where that fails, none is left behind that was made for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dyngen_agents.feedback.store.feedback_store import FeedbackStore


@contextlib.contextmanager
def filling(path: str | os.PathLike[str]) -> Iterator[FeedbackStore]:
    """`with filling(path) as store:` opens a store, and makes it if there is none. If the block raises, a store that
    was made is removed again; what one that was there before has kept of the block stays.

    Raises:
        FileNotFoundError, ValueError, StoreError: as `FeedbackStore`.
    """
    file = Path(path).expanduser()
    is_new = not file.exists()
    try:
        with FeedbackStore(file) as store:
            yield store
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                file.unlink()  # it is closed: no log is left beside it
        raise
