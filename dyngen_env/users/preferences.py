"""What a user may want of a turn, and how well a text meets it: from -1, not at all, to +1, fully."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from dyngen_env.scoring.sentiment import vader
from dyngen_env.scoring.words import any_word, words_of

SLACK = 6  # words outside the wanted range at which a length is as wrong as it can be


class Measure(Protocol):
    """How well a text meets a preference."""

    def fit(self, text: str) -> float:
        """From -1, not at all, to +1, fully."""


@dataclass(frozen=True)
class Words:
    """A number of words from `fewest` to `most`; outside it falls linearly, to -1 at `SLACK` words off."""

    fewest: int
    most: int

    def fit(self, text: str) -> float:
        count = len(words_of(text))
        off = max(self.fewest - count, count - self.most, 0)
        return 1 - 2 * min(1.0, off / SLACK)


@dataclass(frozen=True)
class Tone:
    """VADER's compound score c in the wanted direction: c for 1, -c for -1, 1 - 2|c| for 0."""

    direction: int

    def fit(self, text: str) -> float:
        score = vader(text)
        return self.direction * score if self.direction else 1 - 2 * abs(score)


@dataclass(frozen=True)
class Topic:
    """Whether a text speaks of this topic and of no other: with a of its words and b of the others', each word
    counted once, 2a/(a + b) - 1; -1 if a = 0. So naming every topic does not please everybody."""

    words: tuple[str, ...]
    others: tuple[str, ...]

    def fit(self, text: str) -> float:
        found = set(self._any.findall(text.lower()))
        wanted = len(found.intersection(self.words))
        return 2 * wanted / len(found) - 1 if wanted else -1.0

    @cached_property
    def _any(self) -> re.Pattern[str]:
        return any_word(self.words + self.others)


@dataclass(frozen=True)
class Pattern:
    """Whether a regular expression occurs in a text, whatever the case."""

    expression: str

    def fit(self, text: str) -> float:
        return 1.0 if self._compiled.search(text) else -1.0

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.expression, re.IGNORECASE)


@dataclass(frozen=True)
class Preference:
    """Something a user may want. `kind` groups what excludes each other; `asks` are ways to ask for it."""

    name: str
    kind: str
    measure: Measure
    asks: tuple[str, ...]

    def fit(self, text: str) -> float:
        return self.measure.fit(text)
