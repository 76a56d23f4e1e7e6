"""An unknown keyword is refused by an error that names the known ones."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def strict_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose TypeError for an unknown keyword says which there are.

    The words are Python's own, because libraries that probe an environment look for them (TorchRL's `frameskip=`).
    """
    known = list(inspect.signature(function).parameters)[1:]  # without self

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise TypeError(
                    f"{function.__qualname__}() got an unexpected keyword argument {name!r}"
                    f"{f': did you mean {near[0]!r}?' if near else ':'} the known ones are {', '.join(known)}"
                )
        return function(*args, **kwargs)

    return checked
