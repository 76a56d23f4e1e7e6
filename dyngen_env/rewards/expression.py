"""Rewards written as text: `"shaped(sentiment) + 0.1*fluency - 0.5*keywords('plot')"`, parsed, never evaluated."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from dyngen_env.rewards.base import Constant, Reward

Known = Mapping[str, Callable[..., Reward]]


def parse_reward(text: str, known: Known, wrappers: Known) -> Reward:
    """The reward that an expression describes.

    The grammar: names of rewards, calls of them with literal arguments, calls of wrappers whose arguments are literals
    or expressions, numbers, `+`, `-`, `*`, division by a number, parentheses.

    Raises:
        ValueError: a syntax error, an unknown name (the known ones are listed), or arguments that do not fit.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"reward {text!r} is not an expression: {error.msg}") from error
    value = _Builder(text, known, wrappers).build(tree)
    return Constant(value) if isinstance(value, float) else value


@dataclass(frozen=True)
class _Builder:
    text: str
    known: Known
    wrappers: Known

    def build(self, node: ast.expr) -> Reward | float:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool) and isfinite(number):
                return float(number)
            case ast.Name(id=name):
                return self.call(name, [], {})
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
                named = {str(k.arg): self.argument(name, k.value) for k in keywords}
                return self.call(name, [self.argument(name, a) for a in args], named)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.build(operand)
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as operator, right=right):
                a, b = self.build(left), self.build(right)
                if isinstance(operator, ast.Add):
                    return a + b
                return a - b if isinstance(operator, ast.Sub) else a * b
            case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=int() | float() as number)) if number:
                return self.build(left) * (1.0 / number)
        raise ValueError(
            f"reward {self.text!r}: cannot read {ast.unparse(node)!r}; expected names, calls with literals, numbers, "
            "+ - *"
        )

    def argument(self, of: str, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError as error:
            if of in self.wrappers:
                return self.build(node)
            raise ValueError(f"reward {self.text!r}: arguments of {of} must be literals") from error

    def call(self, name: str, args: list, named: dict) -> Reward:
        maker = self.known.get(name) or self.wrappers.get(name)
        if maker is None:
            names = ", ".join(sorted(self.known))
            around = ", ".join(sorted(self.wrappers))
            raise ValueError(
                f"unknown reward {name!r} in {self.text!r}: expected one of {names}; or around one {around}"
            )
        try:
            return maker(*args, **named)
        except TypeError as error:
            raise ValueError(f"reward {self.text!r}: wrong arguments for {name}: {error}") from error
