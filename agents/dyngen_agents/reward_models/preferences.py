"""A reward model from preferences, for the reward `preference('mine.npz')`.

    python -m dyngen_agents.reward_models.preferences pairs.jsonl --out mine.npz

Each line is {"prompt": ..., "chosen": ..., "rejected": ...}, as for other tools; or the file is a store of people's
feedback, whose preferences, rankings and corrections are the pairs. The model is linear in n-grams of the
completion and VADER's scores (`scoring/text_features.py`); what it is trained by is -log σ(r(chosen) - r(rejected)). A
tenth of the prompts is held out: the strength of the penalty is chosen there, and the accuracy measured.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dyngen_agents.reward_models.from_store import Pair, is_store, pairs_in
from dyngen_agents.reward_models.held_out import is_held_out
from dyngen_env.scoring.human_rating import LinearRating
from dyngen_env.scoring.linear_fit import Sparse, bradley_terry, inverse_document_frequencies, text_matrix
from dyngen_env.scoring.text_features import SIZE

STRENGTHS = (3.0, 1.0, 0.3, 0.1, 0.03)

log = logging.getLogger("dyngen_agents.reward_models.preferences")


@dataclass(frozen=True)
class Trained:
    """A model of preferences, and how it was found."""

    model: LinearRating
    accuracy: float  # share of held-out pairs that it orders as people did; it chose the strength, so slightly high
    strength: float
    pairs: int  # trained on
    held_out: int


def train_on_preferences(pairs: Sequence[Pair], strengths: Sequence[float] = STRENGTHS) -> Trained:
    """The Bradley-Terry model with the penalty that predicts held-out pairs best (log-loss).

    Raises:
        ValueError: too few pairs to train on some and hold out others.
    """
    held = [pair for pair in pairs if is_held_out(*pair)]
    kept = [pair for pair in pairs if not is_held_out(*pair)]
    if not held or not kept:
        raise ValueError(f"{len(pairs)} pairs, {len(held)} of them held out by their prompts: expected more")
    idf = inverse_document_frequencies([text for pair in kept for text in pair[1:]])
    seen, used = _differences(kept, idf).compact()
    unseen = _differences(held, idf)
    best, found = np.inf, None
    for strength in strengths:
        w = np.zeros(SIZE)
        w[used] = bradley_terry(seen, strength)
        margins = unseen.times(w)
        loss, right = float(np.logaddexp(0.0, -margins).mean()), float((margins > 0).mean())
        log.info("strength %g: held-out loss %.4f, accuracy %.3f", strength, loss, right)
        if loss < best:
            best, found = loss, Trained(LinearRating(w, idf, 0.0), right, strength, len(kept), len(held))
    assert found is not None
    return found


def accuracy(model: LinearRating, pairs: Sequence[Pair]) -> float:
    """The share of pairs in which the model rates what was chosen higher."""
    return float(np.mean([model(pair.chosen) > model(pair.rejected) for pair in pairs]))


def read_pairs(path: str | Path) -> list[Pair]:
    """The pairs of a `.jsonl` file, or of a store of people's feedback.

    Raises:
        ValueError: a line that is no object with three texts; the message names it. FileNotFoundError: no such file.
    """
    if is_store(path):
        return pairs_in(path)
    pairs = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                values = json.loads(line)
                pair = Pair(*(values[name] for name in Pair._fields))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error!r}; expected {_FORMAT}") from error
            if not all(isinstance(text, str) for text in pair):
                raise ValueError(f"{path}, line {number}: {pair} are not all texts; expected {_FORMAT}")
            pairs.append(pair)
    return pairs


_FORMAT = '{"prompt": ..., "chosen": ..., "rejected": ...}'


def _differences(pairs: Sequence[Pair], idf: np.ndarray) -> Sparse:
    chosen, rejected = (text_matrix(texts, idf, SIZE) for texts in list(zip(*pairs, strict=True))[1:])
    return chosen.minus(rejected)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, help="a .jsonl file, or a store of feedback")
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    args = parser.parse_args()
    trained = train_on_preferences(read_pairs(args.pairs))
    trained.model.save(args.out)
    log.info(
        "%s: trained on %d pairs, strength %g; %.3f of %d held-out pairs ordered as people did",
        args.out, trained.pairs, trained.strength, trained.accuracy, trained.held_out,
    )  # fmt: skip


if __name__ == "__main__":
    main()
