"""What a request's body says, checked: JSON of bounded size, texts of bounded length, numbers that are some."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request

LONGEST_TEXT = 8_000  # characters of a message, a correction, a wish
LONGEST_KEY = 64


class Fields:
    """The fields of a JSON object that somebody sent. Where a method raises HTTPException, it says what is wrong."""

    def __init__(self, values: dict[str, Any]):
        self.values = values

    def text(self, name: str, longest: int = LONGEST_TEXT, default: str | None = None) -> str:
        """A text that is not empty, unless there is a default. Lone surrogates, which are no characters, become U+FFFD.

        Line ends are "\\n", whatever the browser sends.
        """
        value = self.values.get(name, default)
        if not isinstance(value, str):
            wrong(f"{name} must be a text")
        if len(value) > longest:
            wrong(f"{name} has {len(value)} characters, expected at most {longest}: write less at a time", 413)
        value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\r\n", "\n")
        if default is None and not value.strip():
            wrong(f"{name} is empty: write something")
        return value

    def key(self) -> str:
        """The name of this request: what is sent twice by the same name is done once."""
        key = self.text("key", LONGEST_KEY)
        return key if key.isprintable() else wrong("key has characters that cannot be seen: send a UUID, or the like")

    def whole(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number."""
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            wrong(f"{name} must be a whole number from {least} to {most}")
        return value

    def number(self, name: str, least: float, most: float, default: float) -> float:
        """A number."""
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            wrong(f"{name} must be a number from {least:g} to {most:g}")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false; false if it is not there."""
        value = self.values.get(name, False)
        return value if isinstance(value, bool) else wrong(f"{name} must be true or false")

    def fields(self, name: str) -> Fields:
        """Fields within; none if they are not there."""
        value = self.values.get(name, {})
        return Fields(value) if isinstance(value, dict) else wrong(f"{name} must be an object")

    def ids(self, name: str, most: int = 20) -> list[int]:
        """Numbers of records."""
        value = self.values.get(name)
        if not isinstance(value, list) or not 0 < len(value) <= most or not all(type(i) is int for i in value):
            wrong(f"{name} must be a list of 1 to {most} numbers of turns")
        if any(not 0 < i < 2**63 for i in value):
            wrong(f"{name} has a number that no turn can have")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty if it is not there."""
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            wrong(f"{name} must be a list of texts")
        return [Fields({name: item}).text(name, default="") for item in value]


async def fields_of(request: Request) -> Fields:
    """The JSON object in a request's body."""
    try:
        values = json.loads(await request.body(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # broken UTF-8 is a ValueError, too
        wrong(f"the body is no JSON in UTF-8: {error}")
    return Fields(values) if isinstance(values, dict) else wrong("the body must be a JSON object")


def wrong(message: str, status: int = 400) -> NoReturn:
    """Refuse the request with a sentence that says why."""
    raise HTTPException(status, message)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")
