"""A forked copy of the test process: it has everything imported, for which a new interpreter takes seconds."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")


@contextmanager
def forked(work: Callable[[], int | None], said: Path) -> Iterator[BaseProcess]:
    """A child process that does `work` and exits with the code that this returns; it is killed with the block.

    Args:
        said: the file to which the child writes its standard output and standard error.
    """

    def do() -> None:
        sys.stdout = sys.stderr = said.open("w", buffering=1)
        logging.getLogger().handlers.clear()  # pytest's: messages go where a new interpreter's would
        torch.set_num_threads(1)  # the threads of the parent, if it ever had more, are not here
        sys.exit(work())

    said.touch()
    child = multiprocessing.get_context("fork").Process(target=do)
    child.start()
    try:
        yield child
    finally:
        child.kill()
        child.join(20)
