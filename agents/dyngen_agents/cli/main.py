"""The command `dyngen`: what has to happen before PyTorch is imported, and then everything else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 for a failure, 2 for input that cannot work, 128 + n by signal."""
    _let_threads_sleep()
    try:
        from dyngen_agents.cli.commands import run  # by and by it imports PyTorch, which reads variables once

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # while libraries are imported: nothing has begun yet
        return 130


def _let_threads_sleep() -> None:
    """Have OpenMP's threads sleep while they wait for each other, unless somebody has said otherwise.

    By default they spin. Beside any other program the spinning thread keeps the one that it waits for from running,
    and a run becomes ten times slower.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
