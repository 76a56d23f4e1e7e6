"""A thread that computes in the background: where cores are few, those who serve go first."""

from __future__ import annotations

import os
import sys
import threading

import torch

NICENESS = 10  # as of `nice`


def go_last(threads: int) -> None:
    """Few threads and a low priority for what the calling thread computes."""
    torch.set_num_threads(threads)
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own, and that of the process would change
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
