"""Docstrings, signatures and tables as Markdown, for the pages of documentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any


def docstring(thing: Callable[..., Any]) -> str:
    """A docstring in which the entries of sections such as "Args:" have become lists."""
    out: list[str] = []
    for line in _lines(thing):
        inside = line.startswith("    ")
        if re.fullmatch(r"(Args|Raises|Returns|Attributes):", line):
            out += [f"**{line}**", ""]
        elif inside and not line.startswith("     ") and _in_section(out):
            out.append(f"- {line.strip()}")
        elif inside and out and (out[-1].startswith("- ") or _in_section(out)):
            out[-1] += f" {line.strip()}"
        else:
            out.append(line)
    return "\n".join(out)


def first_paragraph(thing: Callable[..., Any]) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join("\n".join(_lines(thing)).split("\n\n")[0].split())


def signature(thing: Callable[..., Any]) -> str:
    """The arguments with their defaults, without types: "(path, n=2)"; empty if there are none."""
    shown = []
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            shown.append(f"*{parameter.name}")
        elif parameter.default is parameter.empty:
            shown.append(parameter.name)
        elif isinstance(parameter.default, str) and len(parameter.default) > 30:
            shown.append(f"{parameter.name}=...")
        else:
            shown.append(f"{parameter.name}={parameter.default!r}")
    return f"({', '.join(shown)})" if shown else ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; line breaks and bars within a cell do no harm."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _lines(thing: Callable[..., Any]) -> list[str]:
    return inspect.cleandoc(thing.__doc__ or "").split("\n")


def _in_section(lines: list[str]) -> bool:
    """Whether the last heading among the lines is that of a section, and no text has come after it."""
    for line in reversed(lines):
        if line.startswith("**") and line.endswith(":**"):
            return True
        if line and not line.startswith("- "):
            return False
    return False


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
