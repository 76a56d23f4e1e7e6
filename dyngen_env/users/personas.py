"""The people of a persona file: what each of them may want, how patient they are, and what they say."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import dyngen_env.assets
from dyngen_env.users.preferences import Measure, Pattern, Preference, Tone, Topic, Words

FOLDER = Path(dyngen_env.assets.__file__).with_name("personas")
MEASURES = ("words", "tone", "topic", "pattern")
SAYINGS = ("pleased", "thanks", "vague", "leaves")
AGAIN = "again"  # said before a wish by who wants another draft; a file need not have it
TRAITS = ("patience", "noise", "says_why")


@dataclass(frozen=True)
class Persona:
    """One simulated person, hidden from the agent."""

    wants: tuple[str, ...]  # names of preferences
    patience: int  # unhappy turns after which they leave
    noise: float  # of their ratings, in units of real people's
    says_why: float  # how often they say what they miss
    leniency: float = 0.0  # points by which they rate higher than people in general
    drift: float = 0.0  # points by which their ratings rise with each turn


@dataclass(frozen=True)
class Population:
    """The distribution of people that a persona file describes."""

    preferences: dict[str, Preference]
    says: dict[str, tuple[str, ...]]  # by occasion, see `SAYINGS` and `AGAIN`
    traits: dict[str, tuple[float, float]]  # lowest and highest, see `TRAITS`

    def draw(self, wants: int, rng: np.random.Generator) -> Persona:
        """Draw a person.

        Args:
            wants: how many preferences the person has, each of another kind. rng: where the chance comes from.
        """
        left, names = list(self.preferences.values()), []
        for _ in range(wants):
            chosen = left[int(rng.random() * len(left))]
            names.append(chosen.name)
            left = [p for p in left if p.kind != chosen.kind]
        lowest, highest = self.traits["patience"]
        noise, says_why = (a + (b - a) * rng.random() for a, b in (self.traits["noise"], self.traits["says_why"]))
        return Persona(tuple(names), int(rng.integers(int(lowest), int(highest) + 1)), noise, says_why)

    @property
    def kinds(self) -> set[str]:
        """The kinds of preferences: length, tone, ..."""
        return {p.kind for p in self.preferences.values()}


def read_population(name: str) -> Population:
    """Read a persona file: "en" or "zh", which come with the package, or the path of a `.toml` file of the same form.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has another form; the message names the file and the entry.
    """
    packaged = FOLDER / f"{name}.toml"
    path = packaged if packaged.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(repr(p.stem) for p in FOLDER.glob("*.toml")))
        raise FileNotFoundError(f"no persona file {name!r}: expected {known}, or the path of a .toml file")
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, stamp: int) -> Population:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        traits = {name: _range(content["person"][name]) for name in TRAITS}
        says = {name: _texts(content["says"][name]) for name in SAYINGS}
        says[AGAIN] = _texts(content["says"].get(AGAIN, ["..."]))
        entries = content["wants"]
        words = tuple(w for entry in entries for w in _topic_words(entry))
        preferences = {e["name"]: _preference(e, words) for e in entries}
    except KeyError as error:
        raise ValueError(f"persona file {path}: {error} is missing; see {FOLDER / 'en.toml'}") from error
    except (ValueError, TypeError, re.error) as error:
        raise ValueError(f"persona file {path}: {error}; see {FOLDER / 'en.toml'}") from error
    if not preferences:
        raise ValueError(f"persona file {path} has no [[wants]]: nobody could be pleased")
    return Population(preferences, says, traits)


def _preference(entry: dict[str, Any], topic_words: tuple[str, ...]) -> Preference:
    given = [name for name in MEASURES if name in entry]
    if len(given) != 1:
        raise ValueError(f"{entry['name']!r} has {given or 'no measure'}: expected one of {', '.join(MEASURES)}")
    return Preference(entry["name"], entry["kind"], _measure(entry, given[0], topic_words), _texts(entry["asks"]))


def _measure(entry: dict[str, Any], name: str, topic_words: tuple[str, ...]) -> Measure:
    match name:
        case "words":
            return Words(*(int(n) for n in _range(entry["words"])))
        case "tone":
            if entry["tone"] not in (-1, 0, 1):
                raise ValueError(f"tone {entry['tone']!r} of {entry['name']!r}: expected 1, -1 or 0")
            return Tone(entry["tone"])
        case "topic":
            own = _topic_words(entry)
            return Topic(own, tuple(w for w in topic_words if w not in own))
    re.compile(entry["pattern"])
    return Pattern(entry["pattern"])


def _topic_words(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(w.lower() for w in _texts(entry["topic"])) if "topic" in entry else ()


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
        raise ValueError(f"{value!r}: expected a list of texts")
    return tuple(value)


def _range(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2 or not value[0] <= value[1]:
        raise ValueError(f"{value!r}: expected [lowest, highest]")
    return value[0], value[1]
