"""How far people agree about the same texts: Krippendorff's α, by the package `krippendorff`.

α = 1 - D_o / D_e, the observed disagreement over that of chance (Krippendorff 2011, "Computing Krippendorff's
Alpha-Reliability"): 1 if all agree, 0 if they could as well have thrown dice. It allows for people who have rated only
some of the texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dyngen_agents.feedback.store import StoredFeedback

# The kinds that can be compared, and what their numbers mean.
LEVELS = {"rating": "interval", "thumbs": "nominal", "preference": "nominal", "ranking": "ordinal"}


@dataclass(frozen=True)
class Agreement:
    """Agreement in one kind of feedback.

    Attributes:
        alpha: None where it is not defined: no two people about one text, or all said the same of all texts.
        texts: about which at least two people have said something. people: who did.
    """

    alpha: float | None
    texts: int
    people: int


def agreement(feedback: Sequence[StoredFeedback], kind: str) -> Agreement:
    """The agreement in a kind of feedback; of several by one person about one text the last counts.

    Raises:
        ImportError: `krippendorff` is not installed. ValueError: a kind that cannot be compared.
    """
    if kind not in LEVELS:
        raise ValueError(f"agreement in {kind!r} is not defined: expected one of {', '.join(LEVELS)}")
    table = ratings_table(feedback, kind)
    shared = table[:, (~np.isnan(table)).sum(0) > 1]
    shared = shared[~np.isnan(shared).all(1)]
    if len(np.unique(table[~np.isnan(table)])) < 2 or not shared.size:
        return Agreement(None, shared.shape[1], len(shared))
    alpha = _krippendorff().alpha(reliability_data=table, level_of_measurement=LEVELS[kind])
    return Agreement(float(alpha), shared.shape[1], len(shared))


def ratings_table(feedback: Sequence[StoredFeedback], kind: str) -> np.ndarray:
    """(people, texts) float64: what each said of each text as a number, NaN where nothing.

    The columns are the turns of ratings and thumbs; the pairs of a preference, 1 for the one that was added first; the
    turns of each set that was ranked, numbered by their places.
    """
    numbers: dict[tuple[int, Hashable], float] = {}
    for given in feedback:
        if given.kind == kind:
            numbers |= {(given.person.id, text): number for text, number in _numbers(given)}
    people = {person: row for row, person in enumerate(sorted({person for person, _ in numbers}))}
    texts: dict[Hashable, int] = defaultdict(lambda: len(texts))
    table = np.full((len(people), len({text for _, text in numbers})), np.nan)
    for (person, text), number in numbers.items():
        table[people[person], texts[text]] = number
    return table


def _numbers(given: StoredFeedback) -> Iterator[tuple[Hashable, float]]:
    together = tuple(sorted(given.turns))
    if given.kind == "preference":
        yield together, float(given.turns[0] == together[0])
    elif given.kind == "ranking":
        yield from (((together, turn), float(place)) for place, turn in enumerate(given.turns))
    else:
        yield given.turns[0], float(given.value)


def _krippendorff():
    try:
        import krippendorff
    except ImportError as error:
        raise ImportError("agreement needs the package krippendorff: pip install krippendorff") from error
    return krippendorff
