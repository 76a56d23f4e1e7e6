"""Rewards and users written as text, such as `"sentiment + 0.1*keywords('plot')"`: parsed, never evaluated."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


@dataclass(frozen=True)
class Grammar(Generic[T]):
    """What an expression may consist of.

    A name stands for an object that is made without arguments. A call makes one with arguments, which are literals;
    the arguments of a wrapper may be expressions, too. With `arithmetic` there are also numbers, `+`, `-`, `*`,
    division by a number, and parentheses.

    Args:
        kind: what is described, as error messages call it: "reward", "user".
        makers: by name, what makes an object from literals.
        wrappers: by name, what makes an object from other ones.
        arithmetic: whether objects can be added to and multiplied by each other and by numbers.
    """

    kind: str
    makers: Mapping[str, Callable[..., T]]
    wrappers: Mapping[str, Callable[..., T]]
    arithmetic: bool = False

    def parse(self, text: str) -> T | float:
        """The object that `text` describes; with `arithmetic` it may be a number.

        Raises:
            ValueError: a syntax error, an unknown name (the known ones are listed), or arguments that do not fit.
        """
        try:
            return self._build(self._tree(text), text)
        except (RecursionError, MemoryError) as error:
            raise ValueError(f"{self.kind} {text[:40]!r}... is nested too deeply to be read") from error

    def _tree(self, text: str) -> ast.expr:
        try:
            return ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError) as error:  # ValueError: a null byte
            where = f" at column {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
            why = error.msg if isinstance(error, SyntaxError) else error
            raise ValueError(
                f"{self.kind} {text!r} is not an expression: {why}{where}. Expected {self._expected}, or in Python the "
                "object itself"
            ) from error

    def _build(self, node: ast.expr, text: str) -> T | float:
        match node:
            case ast.Name(id=name):
                return self._call(name, [], {}, text)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
                values = [self._argument(name, a, text) for a in args]
                return self._call(
                    name, values, {str(k.arg): self._argument(name, k.value, text) for k in keywords}, text
                )
        if self.arithmetic:
            match node:
                case ast.Constant() if (number := _number(node)) is not None:
                    return number
                case ast.UnaryOp(op=ast.USub(), operand=operand):
                    return -self._build(operand, text)  # type: ignore[operator]
                case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                    return _OPERATORS[type(op)](self._build(left, text), self._build(right, text))
                case ast.BinOp(left=left, op=ast.Div(), right=right) if number := _number(right):
                    return self._build(left, text) * (1.0 / number)  # type: ignore[operator]
        hint = f". For a function in a file write {text.strip()}:function" if text.strip().endswith(".py") else ""
        raise ValueError(f"{self.kind} {text!r}: cannot read {ast.unparse(node)!r}; expected {self._expected}{hint}")

    @property
    def _expected(self) -> str:
        return "names, calls with literals, numbers, + - *" if self.arithmetic else "a name or a call of one"

    def _argument(self, of: str, node: ast.expr, text: str) -> Any:
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError) as error:
            if of in self.wrappers:
                return self._build(node, text)
            if of not in self.makers:
                raise self._unknown(of, text) from error
            raise ValueError(
                f"{self.kind} {text!r}: arguments of {of} must be literals, which {ast.unparse(node)!r} is not"
            ) from error

    def _call(self, name: str, args: list[Any], named: dict[str, Any], text: str) -> T:
        maker = self.makers.get(name) or self.wrappers.get(name)
        if maker is None:
            raise self._unknown(name, text)
        try:
            return maker(*args, **named)
        except TypeError as error:
            raise ValueError(f"{self.kind} {text!r}: wrong arguments for {name}: {error}") from error

    def _unknown(self, name: str, text: str) -> ValueError:
        known, around = (", ".join(sorted(table)) for table in (self.makers, self.wrappers))
        return ValueError(f"unknown {self.kind} {name!r} in {text!r}: expected one of {known}; or around one {around}")


def _number(node: ast.expr) -> float | None:
    """The finite number that a node is; None for anything else."""
    if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
        return None
    try:
        number = float(node.value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return number if isfinite(number) else None
