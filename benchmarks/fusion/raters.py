"""How real raters differ: what of a rating is the text, the person, the time and chance. `python -m benchmarks.fusion
raters`, six seconds.

The film reviews were rated in sets of about 30, each by the same people in the same order (the columns of a set are
correlated from text to text, and those of two sets are not), so that a person can be followed through a set. In a set
of T texts and P people let d[t, p] be a rating less the mean of its text, times √(P/(P-1)), as a rater is part of that
mean. The model is d = kindness[p] + drift[p]·(t - mean t) + chance[t, p]; each person's least-squares line gives all
three, and the variance that chance alone would give to level and slope is subtracted. The figures are the defaults of
the simulated user "raters", whose persons the last column has in the place of the people.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

from dyngen_env.assets.reviews import load_reviews
from dyngen_env.types import Dialogue, Example, Feedback
from dyngen_env.users.simulated import SimulatedUser, raters

SET = 30  # texts, by their published ids


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sets = rated_sets()
    people, simulated = components(sets), components([rated_again(*some, raters(rated=1.0)) for some in sets])
    table = Table(
        "what of it", "people", "raters", title="standard deviation of a rating from its text's mean, in points"
    )
    for name in people:
        table.add_row(name, f"{people[name]:.3f}", f"{simulated[name]:.3f}")
    Console().print(table)


def rated_sets() -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each set of film reviews the places of its texts in it (T,), and the ratings (T, P)."""
    sets: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    for review in load_reviews(kind="film"):
        number, place = divmod(int(review.id.split(":")[1]) - 1, SET)
        sets.setdefault(number, []).append((place, review.ratings))
    return [
        (np.array([place for place, _ in texts]), np.array([ratings for _, ratings in texts], dtype=float))
        for texts in sets.values()
        if len(texts) > 2 and len({len(ratings) for _, ratings in texts}) == 1
    ]


def rated_again(places: np.ndarray, ratings: np.ndarray, user: SimulatedUser) -> tuple[np.ndarray, np.ndarray]:
    """A set as simulated persons, as many as people, would rate it who think of each text what people do on average."""
    rng = np.random.default_rng(int(places.sum() + ratings.sum()) % 2**32)
    crowd = user.begin([Example("")] * ratings.shape[1], [rng] * ratings.shape[1])
    said = (Feedback(),) * SET
    simulated = [
        [user.rating(Dialogue(Example(""), person, feedback=said[:place]), opinion, rng) for person in crowd]
        for place, opinion in zip(places.tolist(), ratings.mean(1).tolist(), strict=True)
    ]
    return places, np.array(simulated, dtype=float)


def components(sets: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """The standard deviations of "all" of a rating, its "person", "drift" by text, and "chance"."""
    total, levels, slopes, left, spread, counts = [], [], [], [], [], []
    for places, ratings in sets:
        texts, raters = ratings.shape
        deviations = (ratings - ratings.mean(1, keepdims=True)) * np.sqrt(raters / (raters - 1))
        time = places - places.mean()
        slope = time @ deviations / (time @ time)
        level = deviations.mean(0)
        rest = deviations - level - time[:, None] * slope
        total.append((deviations**2).mean(0))
        levels.append(level)
        slopes.append(slope)
        left.append((rest**2).sum(0) / (texts - 2))
        spread.append(left[-1] / (time @ time))
        counts.append(left[-1] / texts)
    level, slope, chance = np.concatenate(levels), np.concatenate(slopes), np.concatenate(left)
    variances = {
        "all": np.concatenate(total).mean(),
        "person": level.var() - np.concatenate(counts).mean(),
        "drift": slope.var() - np.concatenate(spread).mean(),
        "chance": chance.mean(),
    }
    return {name: float(max(0.0, variance)) ** 0.5 for name, variance in variances.items()}
