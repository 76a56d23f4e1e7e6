"""Reward designs: expressions over rewards, by name, from a file."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dyngen_agents.runs.imported import imported, is_imported
from dyngen_env.rewards import Reward, make_reward
from dyngen_env.rewards.parts import parts_of

DEFAULTS = "defaults"
_EMBEDDED = Path(__file__).with_name("designs.toml")
_NAME = re.compile(r"\w[\w.+-]*")  # a folder is named so
_TAKEN = ("untrained",)


@dataclass(frozen=True)
class Design:
    """A reward to train under: a name, and an expression for `make_reward` or one's own reward, "mine.py:fn"."""

    name: str
    expression: str

    def reward(self) -> Reward:
        """The reward, not yet bound to an env. Raises ValueError if the expression cannot be read."""
        try:
            own = imported(self.expression) if is_imported(self.expression) else self.expression
            return make_reward(own)
        except (ValueError, TypeError, ImportError) as error:
            raise ValueError(f"design {self.name!r} = {self.expression!r}: {error}") from error


def read_designs(name: str) -> tuple[Design, ...]:
    """The designs in a .toml or .json file, a table {name: expression}, or the embedded ones for "defaults".

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds something else, or an expression that cannot be read; the message names the entry.
    """
    path = _EMBEDDED if name == DEFAULTS else Path(name).expanduser()
    if path.suffix not in (".toml", ".json"):
        raise ValueError(f"designs are read from a .toml or .json file or are {DEFAULTS!r}, got {name!r}")
    if not path.is_file():
        raise FileNotFoundError(f'no designs file {name}: write lines like  kind = "sentiment - repetition"  to it')
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text, object_pairs_hook=_no_name_twice)
    except ValueError as error:
        raise ValueError(f"{name} is no valid {path.suffix[1:]} file: {error}") from error
    return designs_from(table, name)


def designs_from(table: Any, source: str) -> tuple[Design, ...]:
    """The designs of a table {name: expression}, every expression read once. Raises ValueError as `read_designs`."""
    if not isinstance(table, Mapping) or not table:
        raise ValueError(f"{source} holds no designs: expected a table of names and reward expressions")
    for name, expression in table.items():
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise ValueError(
                f"{source}: {name!r} cannot name a design: expected letters, digits, _ . + and -, beginning "
                f"with a letter or digit, and not {_TAKEN[0]!r}"
            )
        if not isinstance(expression, str):
            raise ValueError(
                f'{source}: design {name!r} is {expression!r}: expected a reward in a string, such as "sentiment"'
            )
    folders = [name.casefold() for name in table]  # some file systems know no capitals
    if len(set(folders)) < len(folders):
        raise ValueError(f"{source}: two designs differ in capitals only: rename one of {', '.join(table)}")
    designs = tuple(Design(name, expression) for name, expression in table.items())
    for design in designs:
        design.reward()
    return designs


def parts(reward: Reward) -> frozenset[type[Reward]]:
    """The classes of the rewards that a reward is made of, those inside `clip`, `shaped` and the like included."""
    return frozenset(type(part) for part in parts_of(reward))


def _no_name_twice(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """TOML forbids it, JSON's reader would keep the last."""
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"{name!r} is there twice")
        table[name] = value
    return table
