"""Whether the completion has the form it should have: a regular expression, JSON."""

from __future__ import annotations

import json
import re

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.types import Transition


class Matches(Reward):
    """1 if a regular expression matches anywhere in the turn's completion, else 0.

    `matches('^[A-Z].*[.]$')` asks for a completion that matches from beginning to end.

    Args:
        expression: in the syntax of Python's `re`.

    Raises:
        ValueError: the expression is not valid.
    """

    name = "matches"

    def __init__(self, expression: str):
        try:
            self.expression = re.compile(expression)
        except (re.error, TypeError) as error:
            raise ValueError(f"matches({expression!r}): no regular expression: {error}") from error

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [bool(self.expression.search(t)) for t in transition.completions])


class JsonValid(Reward):
    """1 if the turn's completion is exactly one JSON value, else 0. As RFC 8259 has it, NaN is none, and nothing but
    white space may follow the value.
    """

    name = "json_valid"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [is_json(text) for text in transition.completions])


def is_json(text: str) -> bool:
    """Whether a text is one JSON value."""
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):  # nested a thousand deep: valid, but nobody reads it
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
