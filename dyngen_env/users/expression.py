"""Users written as text: `"simulated(wants=2)"`, `"muted(simulated)"`, parsed, never evaluated."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from dyngen_env.users.user import User


def parse_user(text: str, known: Mapping[str, Callable[..., User]]) -> User:
    """The user that an expression describes: a name, or a call of one with literals or other users as arguments.

    Raises:
        ValueError: a syntax error, an unknown name (the known ones are listed), or arguments that do not fit.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"user {text!r} is not an expression: {error.msg}") from error
    return _build(tree, text, known)


def _build(node: ast.expr, text: str, known: Mapping[str, Callable[..., User]]) -> User:
    match node:
        case ast.Name(id=name):
            return _call(name, [], {}, text, known)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            values = [_argument(a, text, known) for a in args]
            return _call(name, values, {str(k.arg): _argument(k.value, text, known) for k in keywords}, text, known)
    raise ValueError(f"user {text!r}: cannot read {ast.unparse(node)!r}; expected a name or a call of one")


def _argument(node: ast.expr, text: str, known: Mapping[str, Callable[..., User]]) -> Any:
    if isinstance(node, ast.Name | ast.Call):
        return _build(node, text, known)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ValueError(f"user {text!r}: {ast.unparse(node)!r} is neither a literal nor a user") from error


def _call(name: str, args: list, named: dict, text: str, known: Mapping[str, Callable[..., User]]) -> User:
    if name not in known:
        expected = ", ".join(sorted(known))
        raise ValueError(f"unknown user {name!r}: expected one of {expected}, or a User object")
    try:
        return known[name](*args, **named)
    except TypeError as error:
        raise ValueError(f"user {text!r}: wrong arguments for {name}: {error}") from error
