"""What the tables of arms share: their options, and the file of lines to which each arm and seed adds its own."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def parse(about: str | None, arms: Iterable[str], updates: int, runs: str, out: str, quick: str) -> argparse.Namespace:
    """The options of a table.

    Args:
        about: the help. arms: their names. updates: of a run, by default.
        runs, out: the default folder of the runs, and the file of lines in it. quick: what --quick is.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=list(arms), nargs="+", default=[])
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--updates", type=int, default=updates)
    parser.add_argument("--episodes", type=int, default=384, help="dialogues of each evaluation; a multiple of 3")
    parser.add_argument("--quick", action="store_true", help=f"{quick}: to see that it runs")
    parser.add_argument("--runs", type=Path, default=Path(runs))
    parser.add_argument("--out", type=Path, default=Path(runs) / out)
    parser.add_argument("--show", action="store_true", help="print the table of all lines of --out")
    return parser.parse_args()


def keep(out: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Add lines to the file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def kept(out: Path) -> list[dict[str, Any]]:
    """All lines of the file."""
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()]
