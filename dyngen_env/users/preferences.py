"""What a simulated user may want of a text, and how well a text meets it: from -1, not at all, to +1, fully."""

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
    """A number of words from `fewest` to `most`. Within that range the fit is 1; outside it falls linearly, to -1 at
    `SLACK` words too few or too many.
    """

    fewest: int
    most: int

    def fit(self, text: str) -> float:
        count = len(words_of(text))
        off = max(self.fewest - count, count - self.most, 0)
        return 1 - 2 * min(1.0, off / SLACK)


@dataclass(frozen=True)
class Tone:
    """A tone, measured by VADER's compound score c. A `direction` of 1 wants a positive text, with fit c; -1 wants a
    negative one, with fit -c; 0 wants a neutral one, with fit 1 - 2|c|.
    """

    direction: int

    def fit(self, text: str) -> float:
        score = vader(text)
        return self.direction * score if self.direction else 1 - 2 * abs(score)


@dataclass(frozen=True)
class Topic:
    """A topic, and no other. If A different words of this topic and B different words of other topics occur in a text,
    the fit is 2A/(A + B) - 1, and -1 if A = 0. So a text that names every topic does not please everybody.

    Attributes:
        words: of this topic. others: the words of all other topics.
    """

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
    """A regular expression that should match anywhere in the text, in upper or lower case: fit 1 or -1."""

    expression: str

    def fit(self, text: str) -> float:
        return 1.0 if self._compiled.search(text) else -1.0

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.expression, re.IGNORECASE)


@dataclass(frozen=True)
class Preference:
    """One thing that a user may want.

    Attributes:
        name: unique in its persona file.
        kind: nobody has two preferences of the same kind, since these can exclude each other.
        measure: how well a text meets it.
        asks: sentences in which a user asks for it.
    """

    name: str
    kind: str
    measure: Measure
    asks: tuple[str, ...]

    def fit(self, text: str) -> float:
        """From -1, not at all, to +1, fully."""
        return self.measure.fit(text)
