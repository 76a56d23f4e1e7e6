"""A reward model from people's ratings, for the reward `preference('mine.npz')`, which then pays the expected rating.

    python -m dyngen_agents.reward_models.ratings feedback.db --out mine.npz

The file is a store of feedback. The model is linear in n-grams of the completion and VADER's scores
(`scoring/text_features.py`), fitted by ridge regression (Hoerl and Kennard 1970). A tenth of the prompts is held out:
the strength of the penalty is chosen there, and the error measured.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dyngen_agents.reward_models.from_store import Rated, rated_in
from dyngen_agents.reward_models.held_out import is_held_out
from dyngen_env.scoring.human_rating import LinearRating
from dyngen_env.scoring.linear_fit import inverse_document_frequencies, ridge, text_matrix
from dyngen_env.scoring.text_features import SIZE

STRENGTHS = (30.0, 10.0, 3.0, 1.0, 0.3)

log = logging.getLogger("dyngen_agents.reward_models.ratings")


@dataclass(frozen=True)
class TrainedRating:
    """A model of ratings, and how it was found. Errors are mean squares on held-out texts, in ratings²."""

    model: LinearRating
    error: float  # it chose the strength, so slightly low
    error_of_mean: float  # of who knows the mean rating alone
    strength: float
    texts: int  # trained on
    held_out: int


def train_on_ratings(rated: Sequence[Rated], strengths: Sequence[float] = STRENGTHS) -> TrainedRating:
    """The linear model with the penalty that predicts held-out ratings best.

    Raises:
        ValueError: too few texts to train on some and hold out others.
    """
    held = [each for each in rated if is_held_out(each.prompt, each.text)]
    kept = [each for each in rated if not is_held_out(each.prompt, each.text)]
    if not held or not kept:
        raise ValueError(f"{len(rated)} rated texts, {len(held)} of them held out by their prompts: expected more")
    idf = inverse_document_frequencies([each.text for each in kept])
    seen, used = text_matrix([each.text for each in kept], idf, SIZE).compact()
    unseen = text_matrix([each.text for each in held], idf, SIZE)
    y, wanted = (np.array([each.rating for each in some]) for some in (kept, held))
    mean, w = float(y.mean()), np.zeros(SIZE)
    best, found = np.inf, None
    for strength in strengths:
        w[used] = ridge(seen, y - mean, strength, w[used])
        error = float(np.square(mean + unseen.times(w) - wanted).mean())
        log.info("strength %g: held-out error %.4f", strength, error)
        if error < best:
            of_mean = float(np.square(mean - wanted).mean())
            best, found = (
                error,
                TrainedRating(LinearRating(w.copy(), idf, mean), error, of_mean, strength, len(kept), len(held)),
            )
    assert found is not None
    return found


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="a store of feedback, as `dyngen serve --store` writes it")
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    args = parser.parse_args()
    trained = train_on_ratings(rated_in(args.store))
    trained.model.save(args.out)
    log.info(
        "%s: trained on %d texts, strength %g; mean squared error %.3f on %d held-out texts, of the mean alone %.3f",
        args.out, trained.texts, trained.strength, trained.error, trained.held_out, trained.error_of_mean,
    )  # fmt: skip


if __name__ == "__main__":
    main()
