"""Carrying out one command: its arguments, its messages, and an exit code for every error."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import torch

from dyngen_agents.cli.options import TRACEBACK, Command, parse
from dyngen_agents.cli.output import log_to_stderr, spell_what_cannot_be_shown
from dyngen_agents.distributed.processes import ProcessFailed
from dyngen_agents.training.progress import console

WRONG_INPUT, FAILED = 2, 1  # exit codes; a signal's is 128 + its number


def execute(kind: type[Command], arguments: Sequence[str], program: str) -> int:
    """Parse a command's arguments, carry it out, and return the exit code."""
    spell_what_cannot_be_shown()
    try:
        kind, arguments, name = kind.chosen(arguments)
        command = parse(kind, arguments, f"{program} {name}".rstrip())
        log_to_stderr(quiet=command.quiet)
        return command.execute()
    except KeyboardInterrupt:
        console.print("aborted; what was saved before is whole", style="bold red")
        return 130
    except (ValueError, FileNotFoundError, FileExistsError, ImportError, gym.error.Error) as error:
        return _failed(error, TRACEBACK in arguments, WRONG_INPUT)
    except (FloatingPointError, OSError, ProcessFailed, torch.OutOfMemoryError) as error:
        return _failed(error, TRACEBACK in arguments, FAILED)


def _failed(error: BaseException, traceback: bool, code: int) -> int:
    if traceback:
        console.print_exception()
    console.print(f"dyngen: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    return code
