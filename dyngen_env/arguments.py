"""Arguments that people give, checked: every error says what was given and what is possible."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from math import inf, nan
from numbers import Real
from typing import Any

import torch
from gymnasium.vector import AutoresetMode


def one_of(name: str, value: Any, known: Sequence[Any]) -> None:
    """Raises ValueError if `value` is not among the known ones."""
    if value not in known:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, known))}")


def positive(name: str, value: Any) -> None:
    """Raises ValueError if `value` is no integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def between(name: str, value: Any, least: float, most: float = inf) -> None:
    """Raises ValueError if `value` is no number from `least` to `most`, these two included."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan
    if not least <= number <= most:
        upwards = "on" if most == inf else f"to {most:g}"
        raise ValueError(f"{name}={value!r}: expected a number from {least:g} {upwards}")


def file_name(name: str, value: Any) -> None:
    """Raises ValueError if `value` is no path of a file, whether there is one or not."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError(f"{name}={value!r}: expected the name of a file")


def autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    """A mode from the enum, its name or its value, whatever the case and the underscores."""
    if isinstance(mode, AutoresetMode):
        return mode
    for known in AutoresetMode:
        if str(mode).replace("_", "").lower() == known.value.replace("_", "").lower():
            return known
    raise ValueError(f"autoreset_mode={mode!r}: expected one of {', '.join(m.name for m in AutoresetMode)}")


def named_device(name: str | torch.device | None) -> torch.device:
    """The device of that name, which need not be usable here; None is the CPU.

    Raises:
        ValueError: torch knows no such device.
    """
    try:
        return torch.device("cpu" if name is None else name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={name!r} is no device of torch: expected cpu, cuda, cuda:1, mps, ...") from error


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of that name, tried out. In a worker process this must come before the first tensor is made.

    Raises:
        ValueError: torch knows no such device, or it is not available here.
        RuntimeError: CUDA in a forked worker.
    """
    device = named_device(name)
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # a forked child of a process that ran threaded torch hangs otherwise
        if device.type == "cuda" and torch.cuda._is_in_bad_fork():
            raise RuntimeError(
                f'device={name!r} in a forked worker: CUDA cannot be used after a fork; pass context="spawn" to the '
                "async vector env, or step one native vector env on the device instead"
            )
    try:
        torch.zeros(1, device=device).tolist()  # the read back tells a device that holds numbers from "meta"
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={str(name)!r} is not available here: {str(error).splitlines()[0]}") from error
    return device
