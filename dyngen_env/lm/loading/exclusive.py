"""One thread at a time reads models: while transformers does, it changes settings of the whole process.

It replaces weight tying and torch's initialisers by functions that do nothing, sets torch's default dtype, and puts
all that back as it found it. Two threads at once find each other's settings, and put those back for good: then every
later load of the process fails (huggingface/transformers issues 41782 and 44940).
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()  # re-entrant: a tokenizer is read while a .gguf file is converted while a model is read

# A fork waits until nobody reads: the child would inherit a lock that no thread of its own gives back, and settings
# that nobody puts back.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@contextmanager
def exclusive() -> Iterator[None]:
    """Within the block no other thread is in such a block: for whatever makes transformers read or build a model."""
    with _lock:
        yield
