"""Which numbers can be paid: finite ones that float32 can hold, since agents compute with rewards in float32."""

from __future__ import annotations

from typing import Any

import torch

LARGEST = torch.finfo(torch.float32).max
RULE = "expected a finite number of at most 3.4e38 in size"  # how errors about other numbers end


def as_finite(value: Any) -> float | None:
    """`value` as a float; None unless it is a single real number of at most `LARGEST` in size.

    It may be a number of Python, NumPy or torch, or an array or tensor of one element. Text is not a number, even "1".
    """
    try:
        plain = value.item() if hasattr(value, "item") else value
        number = float("nan") if isinstance(plain, str | bytes | bytearray | complex) else float(plain)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: torch, of a tensor with many elements
        return None
    return number if abs(number) <= LARGEST else None


def shown(value: Any) -> str:
    """`value` as an error message shows it: its repr, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no integer of more than 4300 digits
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
