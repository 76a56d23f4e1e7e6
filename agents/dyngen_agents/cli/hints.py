"""Commands to type next, written so that they run as they stand in the shell that the program was called from."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
from pathlib import Path

import torch

log = logging.getLogger(__name__)


def command_line(*arguments: str, program: str = "dyngen", module: str = "dyngen_agents.cli") -> str:
    """A line for the shell.

    It begins with the program's bare name only if the shell would find this very installation under that name; else
    with its path, or with `python -m` where it was never installed.

    Args:
        module: what the program runs.
    """
    beside = shutil.which(program, path=str(Path(sys.executable).parent))
    if beside is None:
        start = [sys.executable, "-m", module]
    elif (found := shutil.which(program)) is not None and os.path.samefile(found, beside):
        start = [program]
    else:
        start = [_short(beside)]
    return shlex.join([*start, *arguments])


def mention_idle_gpu(device: str | None) -> None:
    """Say so if a run is about to use the CPU, because nobody has said otherwise, and there is a GPU."""
    if device is None and torch.cuda.is_available():
        log.info("a GPU lies idle: --device cuda runs on it")


def _short(path: str) -> str:
    """Relative to the working directory, if the path leads there."""
    with_folder = os.path.join(os.getcwd(), "")
    return path.removeprefix(with_folder)
