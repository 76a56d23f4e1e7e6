"""Ranges of hyper-parameters, checked when a configuration is made: a mistake shows before a run begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints


class Range(NamedTuple):
    """Finite numbers from `low` to `high`; `above` leaves out `low` itself."""

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, number: object) -> bool:
        assert isinstance(number, int | float)
        return math.isfinite(number) and self.low <= number <= self.high and not (self.above and number == self.low)

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"between {self.low:g} and {self.high:g}"
        return f"above {self.low:g}" if self.above else f"of at least {self.low:g}"


POSITIVE, NOT_NEGATIVE, COUNT, FRACTION = Range(0, above=True), Range(0), Range(1), Range(0, 1)

# A name means the same in every algorithm.
RANGES = {
    "learning_rate": POSITIVE,
    "warmup_steps": NOT_NEGATIVE,
    "epochs": COUNT,
    "minibatch_size": COUNT,
    "max_tokens": COUNT,
    "group_size": COUNT,
    "gamma": FRACTION,
    "gae_lambda": FRACTION,
    "clip_coef": NOT_NEGATIVE,
    "clip_coef_high": NOT_NEGATIVE,
    "value_clip": NOT_NEGATIVE,
    "vf_coef": NOT_NEGATIVE,
    "ent_coef": NOT_NEGATIVE,
    "kl_coef": NOT_NEGATIVE,
    "kl_target": POSITIVE,
    "kl_horizon": POSITIVE,
    "max_grad_norm": POSITIVE,
    "top_fraction": Range(0, 1, above=True),
}


def check_settings(config: Any, **ranges: Range) -> None:
    """Check every field of a dataclass whose fields are numbers, truth values, texts, or one of some words.

    Args:
        ranges: by name; where a field is not like those of the same name elsewhere, or has a name of its own.

    Raises:
        ValueError: a value of another type than the field's, or a number out of its range; the message says which.
    """
    hints = get_type_hints(type(config))
    for name in (field.name for field in fields(config)):
        check_setting(name, getattr(config, name), hints[name], (RANGES | ranges).get(name))


def check_groups(episodes: int, group_size: int) -> None:
    """Raises ValueError unless the episodes of an update are whole groups."""
    if episodes % group_size:
        raise ValueError(
            f"episodes={episodes} is no multiple of group_size={group_size}: every prompt is played group_size times"
        )


def check_setting(name: str, value: Any, hint: Any, allowed: Range | None) -> None:
    """Check one setting. hint: bool, int, float, str, a Literal, or one of these | None. Raises ValueError."""
    kinds: Sequence[Any] = [hint] if get_origin(hint) is Literal else get_args(hint) or [hint]
    if value is None and NoneType in kinds:
        return
    kind = next(kind for kind in kinds if kind is not NoneType)
    if get_origin(kind) is Literal:
        wanted, right = f"one of {', '.join(map(repr, get_args(kind)))}", value in get_args(kind)
    elif kind is bool:
        wanted, right = "True or False", isinstance(value, bool)
    elif kind is str:
        wanted, right = "a text that is not empty", isinstance(value, str) and bool(value.strip())
    else:
        assert allowed is not None, f"{name} has no range: give one to check_settings"
        wanted = f"a {'whole' if kind is int else 'finite'} number {allowed}"
        accepted = int if kind is int else int | float
        right = isinstance(value, accepted) and not isinstance(value, bool) and value in allowed
    if not right:
        raise ValueError(f"{name} is {value!r}, expected {wanted}{' or None' if NoneType in kinds else ''}")
