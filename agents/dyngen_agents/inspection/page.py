"""The page of `dyngen inspect`: one HTML file that loads nothing, with its data inside as JSON."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any


def page(data: dict[str, Any]) -> str:
    """The HTML of the page that shows `data`, which `inspect_run` has returned."""
    template = files("dyngen_agents.inspection").joinpath("inspection.html").read_text(encoding="utf-8")
    return template.replace("@DATA@", embedded(data))


def embedded(data: Any) -> str:
    """JSON that can stand in a <script> of an HTML file: plain ASCII, and nothing in it is a tag or a comment."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def write_page(data: dict[str, Any], path: Path) -> None:
    """Write the page of `data` to a file. Raises OSError if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(data), encoding="utf-8")
