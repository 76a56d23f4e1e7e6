"""A model of people's ratings that knows how sure it is, for the reward `human(FILE, 'model', model='mine.npz')`.

    python -m dyngen_agents.reward_models.rating_process feedback.db --out mine.npz

The file is a store of feedback. The model is a Gaussian process on n-grams of the completion
(`dyngen_env.scoring.rating_process`). How well it predicts is measured on each text by what it learns from all others.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from dyngen_agents.reward_models.from_store import rated_in
from dyngen_env.scoring.rating_process import MOST_TEXTS, RatingProcess, fitted

log = logging.getLogger("dyngen_agents.reward_models.rating_process")


def correlation(model: RatingProcess) -> float:
    """Between the ratings that it learned from and what it predicts of each from all others; 0 if one is constant."""
    predicted, _ = model.left_out()
    if not (np.ptp(predicted) and np.ptp(model.ratings)):
        return 0.0
    return float(np.corrcoef(predicted, model.ratings)[0, 1])


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="a store of feedback, as `dyngen serve --store` writes it")
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    args = parser.parse_args()
    rated = rated_in(args.store)
    model = fitted([each.text for each in rated], [each.rating for each in rated])
    model.save(args.out)
    _, spread = model.left_out()
    log.info(
        "%s: learned from %d texts (at most the last %d); each predicted from the others with a correlation of %.2f "
        "and a standard deviation of %.2f at the median",
        args.out, len(model.ratings), MOST_TEXTS, correlation(model), float(np.median(spread)),
    )  # fmt: skip


if __name__ == "__main__":
    main()
