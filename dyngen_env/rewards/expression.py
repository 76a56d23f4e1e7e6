"""Rewards written as text: `"sentiment + 0.1*fluency - 0.5*keywords('plot', 'acting')"`, parsed, never evaluated."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from math import isfinite

from dyngen_env.rewards.reward import Constant, Reward


def parse_reward(text: str, known: Mapping[str, Callable[..., Reward]]) -> Reward:
    """The reward that an expression describes.

    The grammar: names of rewards, calls of them with literal arguments, numbers, `+`, `-`, `*`, parentheses.

    Raises:
        ValueError: a syntax error, an unknown name (the known ones are listed), or arguments that do not fit.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"reward {text!r} is not an expression: {error.msg}") from error
    value = _build(tree, text, known)
    return Constant(value) if isinstance(value, float) else value


def _build(node: ast.expr, text: str, known: Mapping[str, Callable[..., Reward]]) -> Reward | float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool) and isfinite(number):
            return float(number)
        case ast.Name(id=name):
            return _call(name, [], {}, text, known)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            try:
                values = [ast.literal_eval(a) for a in args]
                named = {str(k.arg): ast.literal_eval(k.value) for k in keywords}
            except ValueError as error:
                raise ValueError(f"reward {text!r}: arguments of {name} must be literals") from error
            return _call(name, values, named, text, known)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_build(operand, text, known)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as operator, right=right):
            a, b = _build(left, text, known), _build(right, text, known)
            if isinstance(operator, ast.Add):
                return a + b
            return a - b if isinstance(operator, ast.Sub) else a * b
        case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=int() | float() as number)) if number:
            return _build(left, text, known) * (1.0 / number)
    raise ValueError(
        f"reward {text!r}: cannot read {ast.unparse(node)!r}; expected names, calls with literals, numbers, + - *"
    )


def _call(name: str, args: list, named: dict, text: str, known: Mapping[str, Callable[..., Reward]]) -> Reward:
    if name not in known:
        raise ValueError(f"unknown reward {name!r} in {text!r}: expected one of {', '.join(sorted(known))}")
    try:
        return known[name](*args, **named)
    except TypeError as error:
        raise ValueError(f"reward {text!r}: wrong arguments for {name}: {error}") from error
