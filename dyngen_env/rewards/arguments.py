"""Arguments by name: which of text, prompt, reference, example and dialogue a reward function asks for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from itertools import takewhile
from typing import Any

from dyngen_env.types import Dialogue, Example

NAMES = ("text", "prompt", "reference", "example", "dialogue")

_RULE = (
    "a reward function gets its arguments by name: text (what the agent wrote in the turn), prompt, reference, "
    "example, dialogue. If it requires one argument only, as f(t), it may call the text as it likes; further "
    "arguments of its own need defaults"
)
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def turn_values(text: str, example: Example, dialogue: Dialogue | None) -> dict[str, Any]:
    """What a reward function can ask for about one turn of the agent, by the names in `NAMES`.

    Args:
        text: what the agent wrote in the turn, cut before a stop string.
        example: what the episode was begun with. Its `prompt`, and its `reference`, which is None where the prompts
            came without references, are values of their own as well.
        dialogue: the dialogue up to the user's answer to this turn; None where no user answers.
    """
    return dict(text=text, prompt=example.prompt, reference=example.reference, example=example, dialogue=dialogue)


@dataclass(frozen=True)
class Arguments:
    """Which values a function is called with: those in their places, and those by keyword."""

    in_place: tuple[Parameter | str, ...]  # a name in NAMES, or a parameter that is given its own default
    by_keyword: Mapping[str, str]  # from the function's own names to those in NAMES

    def call(self, function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        """What the function returns. values: by name, as `turn_values` gives them."""
        in_place = (p.default if isinstance(p, Parameter) else values[p] for p in self.in_place)
        return function(*in_place, **{own: values[name] for own, name in self.by_keyword.items()})


THE_TEXT = Arguments(("text",), {})


def arguments_of(function: Callable[..., Any]) -> Arguments:
    """What a reward function is to be called with.

    A parameter called like one of `NAMES` gets that value, whether it is positional, keyword-only or has a default.
    Parameters with other names keep their defaults, and so do those that `functools.partial` has filled in. `**kwargs`
    gets all values that no parameter is called like. The text goes to the only required parameter, or to a first one
    that is positional-only, whatever it is called; to `*args` if nothing else is named; and to functions that do not
    tell their parameters, as some builtins.

    Raises:
        TypeError: a required parameter has another name, or there is no parameter that would get a value.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return THE_TEXT
    filled = set(function.keywords) if isinstance(function, functools.partial) else set()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in filled]
    kinds = {p.kind for p in parameters}
    if not named and Parameter.VAR_POSITIONAL in kinds:
        return THE_TEXT
    value_of = _values_of(named)
    unknown = [repr(p.name) for p in named if p.default is p.empty and p.name not in value_of]
    if unknown:
        raise TypeError(f"reward {function!r} requires {', '.join(unknown)}: {_RULE}")
    rest = [name for name in NAMES if name not in {*value_of.values(), *filled}]
    others = {name: name for name in rest} if Parameter.VAR_KEYWORD in kinds else {}
    if not value_of and not others:
        raise TypeError(f"reward {function!r} asks for nothing: {_RULE}")
    head = _in_place(named, value_of)
    by_keyword = {p.name: value_of[p.name] for p in named[len(head) :] if p.name in value_of}
    return Arguments(tuple(value_of.get(p.name, p) for p in head), by_keyword | others)


def _values_of(named: Sequence[Parameter]) -> dict[str, str]:
    """Which of `NAMES` each parameter is given, by its own name."""
    value_of = {p.name: p.name for p in named if p.name in NAMES}
    required = [p for p in named if p.default is p.empty]
    first = next((p for p in required if p.name not in NAMES), None)
    if first is not None and "text" not in value_of:
        nameless = first is named[0] and first.kind is Parameter.POSITIONAL_ONLY
        if nameless or required == [first]:
            value_of[first.name] = "text"
    return value_of


def _in_place(named: Sequence[Parameter], value_of: Mapping[str, str]) -> list[Parameter]:
    """The first parameters, which are given by position: so a decorator may call them otherwise than its function.

    What can only be given by position is among them, with its default where it has no value but a later one has.
    """
    given = [i for i, p in enumerate(named) if p.kind is Parameter.POSITIONAL_ONLY and p.name in value_of]
    needed = given[-1] + 1 if given else 0
    more = takewhile(lambda p: p.kind in _POSITIONAL and p.name in value_of, named[needed:])
    return [*named[:needed], *more]
