"""Trains models of human ratings and reports how well they predict.

    python -m dyngen_agents.pretraining.make_human_rating                                  the embedded human-rating.npz
    python -m dyngen_agents.pretraining.make_human_rating --model smollm2 --out judge.npz  a language model as the judge

Ridge regression of the mean ratings (Hoerl and Kennard 1970). Its strength is chosen on the tune split, by the mean of
the correlations on films and products; the small model is then fitted again to train and tune together. This script
reads the eval split for the report alone; but the small model's n-grams were chosen by people who had seen its figures.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dyngen_env.assets.reviews import KINDS, Review, load_reviews
from dyngen_env.lm.rater import LMRater, last_states
from dyngen_env.scoring.human_rating import PATH, LinearRating
from dyngen_env.scoring.linear_fit import Sparse, inverse_document_frequencies, ridge, text_matrix
from dyngen_env.scoring.sentiment import vader
from dyngen_env.scoring.text_features import SIZE

STRENGTHS = (8.0, 4.0, 2.0, 1.0, 0.5)
LAYERS, LM_STRENGTHS = (18, 22, 25, 28), (3000.0, 1000.0, 300.0, 100.0)  # of SmolLM2's 30, chosen on train and tune

log = logging.getLogger(__name__)


def matrix(reviews: Sequence[Review], idf: np.ndarray) -> Sparse:
    """The texts of some reviews."""
    return text_matrix([review.text for review in reviews], idf, SIZE)


def train() -> tuple[LinearRating, float]:
    """The model with the strength that is best on tune, fitted again to train and tune together; and that strength."""
    reviews, tune = load_reviews("train"), load_reviews("tune")
    idf = inverse_document_frequencies([r.text for r in reviews])
    x, y = matrix(reviews, idf), np.array([r.mean for r in reviews])
    bias, seen = float(y.mean()), matrix(tune, idf)
    best, chosen, strength, w = -1.0, np.zeros(SIZE), 0.0, np.zeros(SIZE)
    for candidate in STRENGTHS:
        w = ridge(x, y - bias, candidate, w)
        scores = correlations(tune, seen.times(w))
        log.info("strength %g: tune %s", candidate, scores)
        if (score := sum(scores.values())) > best:
            best, chosen, strength = score, w.copy(), candidate
    reviews = [*reviews, *tune]
    idf, y = inverse_document_frequencies([r.text for r in reviews]), np.array([r.mean for r in reviews])
    bias = float(y.mean())
    return LinearRating(ridge(matrix(reviews, idf), y - bias, strength, chosen), idf, bias), strength


def train_lm(model: str) -> tuple[LMRater, float]:
    """A linear reading of a language model's hidden states, by ridge regression; and the strength that tune chose."""
    reviews, tune = load_reviews("train"), load_reviews("tune")
    x, seen = (_flat(last_states(model, LAYERS, [r.text for r in some])) for some in (reviews, tune))
    y = np.array([r.mean for r in reviews])
    mean, scale = x.mean(0), x.std(0) + 1e-6
    z = (x - mean) / scale
    gram, target = z.T @ z, z.T @ (y - y.mean())
    best, chosen, strength = -1.0, np.zeros(len(mean)), 0.0
    for candidate in LM_STRENGTHS:
        w = np.linalg.solve(gram + candidate * np.eye(len(gram)), target) / scale
        scores = correlations(tune, seen @ w)
        log.info("strength %g: tune %s", candidate, scores)
        if (score := sum(scores.values())) > best:
            best, chosen, strength = score, w, candidate
    weights = chosen.reshape(len(LAYERS), -1).astype(np.float32)
    return LMRater(model, LAYERS, weights, float(y.mean() - mean @ chosen)), strength


def _flat(states: np.ndarray) -> np.ndarray:
    return states.reshape(len(states), -1).astype(np.float64)


def correlations(reviews: Sequence[Review], predicted: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Pearson's r with the human means, by kind of review."""
    means, guesses = np.array([r.mean for r in reviews]), np.array(predicted)
    of = {kind: np.array([r.kind == kind for r in reviews]) for kind in KINDS}
    return {kind: round(float(np.corrcoef(means[of[kind]], guesses[of[kind]])[0, 1]), 4) for kind in KINDS}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file to write (default: the packaged one)")
    parser.add_argument("--model", help="a language model to judge by, such as smollm2; needs --out")
    args = parser.parse_args()
    held_out = load_reviews("eval")
    if args.model is not None:
        if args.out is None:
            parser.error("--model needs --out: the packaged file is for the small model")
        judge, strength = train_lm(args.model)
        judge.save(args.out)
        log.info("strength %g; eval: %s", strength, correlations(held_out, judge([r.text for r in held_out])))
        return
    args.out = args.out or PATH
    model, strength = train()
    model.save(args.out)
    model = LinearRating.load(args.out)  # as it will be used, rounded to float16
    log.info("%s: %d bytes, strength %g", args.out.name, args.out.stat().st_size, strength)
    log.info("eval: %s", correlations(held_out, [model(r.text) for r in held_out]))
    log.info("VADER: %s", correlations(held_out, [vader(r.text) for r in held_out]))


if __name__ == "__main__":
    main()
