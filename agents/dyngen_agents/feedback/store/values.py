"""What each kind of feedback says, and the checks that it makes sense.

| kind | turns | value |
|---|---|---|
| rating | one | a number from -4 to 4 |
| thumbs | one | 1 or -1 |
| preference | the chosen one, the rejected one | None |
| ranking | two or more, the best first | None |
| span | one | {"start": 0, "end": 5, "good": true}: [start, end) in characters (Unicode code points) of its text |
| correction | one | the text as it should have been |
| words | one | what the person says about it |
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

KINDS = ("rating", "thumbs", "preference", "ranking", "span", "correction", "words")
WORST, BEST = -4.0, 4.0  # of ratings, as the simulated users of `dyngen_env.users` give them


def checked_value(kind: str, texts: Sequence[str], value: Any) -> Any:
    """The value in the form in which it is stored.

    Args:
        texts: of the turns that the feedback is about.

    Raises:
        ValueError: there is no such kind, or turns and value do not fit it.
    """
    check_turns(kind, len(texts))
    return _CHECKS[kind](value, texts)


def check_turns(kind: str, count: int) -> None:
    """Raises ValueError if there is no such kind of feedback, or none about so many turns."""
    if kind not in KINDS:
        raise ValueError(f"kind of feedback is {_short(kind)}, expected one of {', '.join(KINDS)}")
    fewest, most = {"preference": (2, 2), "ranking": (2, math.inf)}.get(kind, (1, 1))
    if not fewest <= count <= most:
        wanted = "two or more turns" if most == math.inf else f"{fewest} turn{'s' * (fewest > 1)}"
        raise ValueError(f"{kind} of {count} turns: expected {wanted}")


def well_formed(text: Any, what: str) -> str:
    """The text with U+FFFD for each lone surrogate, which no file can hold, as browsers send it.

    Raises:
        ValueError: it is no text.
    """
    if not isinstance(text, str):
        raise ValueError(f"{what} is {_short(text)}, expected a text")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def as_json(value: Any, what: str) -> str:
    """A value as JSON. Raises ValueError if it has something that JSON has not."""
    try:
        return well_formed(json.dumps(value, ensure_ascii=False, allow_nan=False), what)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} cannot be written as JSON: {error}") from error


def _rating(value: Any, texts: Sequence[str]) -> float:
    if not _is_number(value) or not WORST <= value <= BEST:
        raise ValueError(f"rating is {_short(value)}, expected a number from {WORST:g} to {BEST:g}")
    return float(value)


def _thumbs(value: Any, texts: Sequence[str]) -> int:
    if not _is_number(value) or value not in (1, -1):
        raise ValueError(f"thumbs is {_short(value)}, expected 1 for up or -1 for down")
    return int(value)


def _order(value: Any, texts: Sequence[str]) -> None:
    if value is not None:
        raise ValueError(f"value is {_short(value)}, expected none: the order of the turns says it all, the best first")


def _span(value: Any, texts: Sequence[str]) -> dict[str, Any]:
    expected = 'expected {"start": 0, "end": 5, "good": true}'
    if not isinstance(value, dict) or set(value) != {"start", "end", "good"}:
        raise ValueError(f"span is {_short(value)}, {expected}")
    start, end, good = value["start"], value["end"], value["good"]
    if not isinstance(good, bool) or any(isinstance(x, bool) or not isinstance(x, int) for x in (start, end)):
        raise ValueError(f"span is {_short(value)}, {expected}")
    if not 0 <= start < end <= len(texts[0]):
        raise ValueError(
            f"span is [{_short(start)}, {_short(end)}) of a text of {len(texts[0])} characters: "
            "expected 0 <= start < end <= its length"
        )
    return {"start": start, "end": end, "good": good}


def _written(what: str) -> Any:
    def check(value: Any, texts: Sequence[str]) -> str:
        text = well_formed(value, what)
        if not text.strip():
            raise ValueError(f"{what} is empty: expected a text")
        return text

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    """A value for a message, of bounded length."""
    said = repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "a number of more than 20 digits"
    return said if len(said) <= 60 else f"{said[:60]}..."


_CHECKS = {
    "rating": _rating,
    "thumbs": _thumbs,
    "preference": _order,
    "ranking": _order,
    "span": _span,
    "correction": _written("correction"),
    "words": _written("words"),
}
