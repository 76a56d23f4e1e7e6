"""Classes that take the keywords of an options class: their signature and their documentation."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from inspect import Parameter
from itertools import pairwise
from typing import Any, TypeVar

from dyngen_env.envs.options import TaskOptions, keywords_of

Class = TypeVar("Class", bound=type)

WIDTH = 116


def documented(options: type[TaskOptions], first: str | None = None) -> Callable[[Class], Class]:
    """A decorator for a class whose `__init__` takes the keywords of `options` as `**keywords`.

    `help` and `inspect.signature` then show the keywords, and "{keywords}" in the class's docstring becomes their
    documentation.

    Args:
        first: the keyword that may also be given by position.
    """

    def decorate(kind: Class) -> Class:
        known, docs = keywords_of(options), field_docs(options)
        names = sorted(known, key=lambda name: name != first)
        parameters = [
            Parameter(
                name,
                Parameter.POSITIONAL_OR_KEYWORD if name == first else Parameter.KEYWORD_ONLY,
                default=known[name].default,
            )
            for name in names
        ]
        own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
        kind.__init__.__signature__ = inspect.Signature([own, *parameters])  # type: ignore[misc]
        lines = [_indented(f"{name}: {docs.get(name, '')}") for name in names]
        kind.__doc__ = (kind.__doc__ or "").replace("{keywords}", "\n".join(lines).lstrip())
        return kind

    return decorate


def _indented(text: str) -> str:
    """A line of an "Args:" section of a class's docstring."""
    return textwrap.fill(text, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 12)


def field_docs(kind: type) -> dict[str, str]:
    """The string below each field of a dataclass, those of the classes that it inherits from included."""
    docs: dict[str, str] = {}
    for base in filter(is_dataclass, reversed(kind.__mro__)):
        docs |= _own_field_docs(base)
    return docs


@cache
def _own_field_docs(kind: Any) -> dict[str, str]:
    try:
        tree: Any = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):  # made by make_dataclass, or there is no source
        return {}
    return {
        field.target.id: " ".join(str(after.value.value).split())
        for field, after in pairwise(tree.body[0].body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
