"""Teaches `dialogue-lm` random walks on letters, so that one model can begin in Sentiment, Dialogue and RandomWalk.

    python -m dyngen_agents.pretraining.make_mix_lm --out FOLDER

FOLDER is a model to name by `--model FOLDER`; none ships. A mixture has one tokenizer, and a task is learned from
rewards only if the model gets some: dialogue-lm talks, and writes reviews, but hardly a walk on the graph of
`dyngen/RandomWalk-v0`, whose reward is nearly 0. Here it reads walks such as walk-lm has read, a letter a token, and,
so that it forgets nothing, reviews and simulated dialogues such as it has read before.
"""

import argparse
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dyngen_agents.pretraining import make_dialogue_lm
from dyngen_agents.pretraining.behaviour import walk_episodes
from dyngen_agents.pretraining.make_dialogue_lm import batches, dialogues, read
from dyngen_agents.pretraining.make_reviews_lm import IGNORED, encode, save
from dyngen_env.assets.reviews import load_reviews
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.text.huggingface import HFTokenizer, adapted

log = logging.getLogger(__name__)

Row = tuple[list[int], list[int]]  # ids, and labels: IGNORED where nothing is to be learned


@dataclass(frozen=True)
class Recipe(make_dialogue_lm.Recipe):
    """How much is read of each kind; not tuned."""

    dialogues: int = 3_000
    reviews: int = 4_000
    walks: int = 12_000
    learning_rate: float = 1.5e-3


def walks(count: int, seed: int, tokenizer: HFTokenizer) -> list[Row]:
    """Random walks, each letter a token, as `walk_episodes` makes them."""
    (end,) = tokenizer.hf.convert_tokens_to_ids(["<|eos|>"])
    rows = []
    for episode in walk_episodes(count, seed):
        before = tokenizer.encode_prompt(episode.example.prompt)
        said = [token for letter in episode.completions[0] for token in tokenizer.encode(letter)]
        said += [end] if episode.finish_reason == "stop" else []
        rows.append(([*before, *said], [IGNORED] * len(before) + said))
    return rows


def reviews(count: int, seed: int, tokenizer: HFTokenizer) -> list[Row]:
    """Reviews of the train split, from the first word to the end of the text."""
    texts = random.Random(seed).sample([review.text for review in load_reviews("train")], count)
    return [(ids, [IGNORED, *ids[1:]]) for ids in encode(tokenizer.hf, texts)]


def lesson(recipe: Recipe, tokenizer: HFTokenizer) -> Sequence[tuple[Tensor, Tensor]]:
    """(ids, labels) of all batches, each (B, T) and of one kind, in random order."""
    kinds = (
        list(dialogues("train", recipe, tokenizer)),
        reviews(recipe.reviews, recipe.seed, tokenizer),
        walks(recipe.walks, recipe.seed, tokenizer),
    )
    made = [batch for rows in kinds for batch in batches(rows, recipe)]
    random.Random(recipe.seed).shuffle(made)
    return made


def train(recipe: Recipe) -> Any:
    """dialogue-lm after one pass over all of it."""
    torch.manual_seed(recipe.seed)
    tokenizer = adapted(load_tokenizer("dialogue-lm"))
    model: Any = load_model("dialogue-lm", fresh=True)
    made, started = lesson(recipe, tokenizer), time.monotonic()
    read(model, made, recipe)
    log.info("%d batches in %.0f s", len(made), time.monotonic() - started)
    return model


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, in Hugging Face format")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = train(Recipe(seed=args.seed))
    args.out.mkdir(parents=True, exist_ok=True)
    save(model, load_tokenizer("dialogue-lm"), args.out)
    log.info("written to %s", args.out)


if __name__ == "__main__":
    main()
