"""Gives dialogue-lm ears: the folder of a model that hears what the simulated persons say, with which reinforcement
learning by `user="spoken(simulated, 'sound')"` begins.

    python -m dyngen_agents.pretraining.make_hearing_lm --out FOLDER    two CPU minutes; needs apt install espeak-ng

The language model stays as it is. Its new encoder (`lm.modalities.utterance_part`) learns to put into the places of a
sound the word embeddings of what is said, token by token, and behind them the embedding of what follows the words in
writing: the mean of ||v - e||² / (E s²) over places is minimised, where v is the vector of a place, e the embedding of
its token, E the width and s the standard deviation of the embeddings. Voices and noise are those of the recogniser
"persona_sayings".
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from dyngen_agents.policy.lora import save_lm
from dyngen_agents.pretraining import make_persona_sayings as voices
from dyngen_agents.pretraining.make_recordings import sayings
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.lm.modalities import MediaEncoder, attach_encoder
from dyngen_env.lm.modalities.utterance_part import UtterancePart
from dyngen_env.text.huggingface import HFTokenizer, adapted
from dyngen_env.users.personas import read_population

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How it is learned. Not tuned."""

    seed: int = 0
    steps: int = 1_000
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    blur: float = 0.3  # deviation of the noise that is added to the features


def tokens_of(texts: Sequence[str], tokenizer: HFTokenizer, places: int) -> Tensor:
    """(N, places): the tokens of each text, and behind them the one that follows a user's words."""
    some, none = tokenizer.encode_reply("x", 0), tokenizer.encode_reply("", 0)
    follows = next(b for a, b in zip(some, none, strict=False) if a != b)
    rows = [tokenizer.encode(text)[:places] for text in texts]
    return torch.tensor([row + [follows] * (places - len(row)) for row in rows])


def train(part: UtterancePart, features: Tensor, vectors: Tensor, scale: float, recipe: Recipe) -> None:
    """Let a part learn to make `vectors` (N, n, E), of deviation `scale`, of features (N, FEATURES)."""
    optimizer = torch.optim.AdamW(part.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    for step in range(1, recipe.steps + 1):
        chosen = torch.randint(len(features), (recipe.batch,))
        blurred = features[chosen] + recipe.blur * torch.randn(recipe.batch, features.shape[1])
        loss = (part.read(blurred) - vectors[chosen]).square().mean() / scale**2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            log.info("step %d: loss %.3f", step, float(loss.detach()))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, in Hugging Face format")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    recipe, heard_as, started = Recipe(seed=args.seed), voices.Recipe(seed=args.seed), time.monotonic()
    texts = sayings(read_population("en"))
    heard = voices.recorded(texts, heard_as)
    features = voices.heard_features([sound for _, sound in heard], heard_as)
    which = torch.tensor([texts.index(text) for text, _ in heard]).repeat_interleave(heard_as.hearings)
    log.info("%d sayings were heard after %.0f s", len(heard), time.monotonic() - started)
    lm, tokenizer = load_model("dialogue-lm", fresh=True), load_tokenizer("dialogue-lm")
    embeddings = cast(nn.Embedding, lm.get_input_embeddings()).weight.detach()
    part = UtterancePart(embeddings.shape[1])
    vectors = embeddings[tokens_of(texts, adapted(tokenizer), part.places)]
    train(part, features, vectors[which], float(embeddings.std()), recipe)
    attach_encoder(lm, MediaEncoder({"sound": part}))
    args.out.mkdir(parents=True, exist_ok=True)
    save_lm(lm, args.out)
    tokenizer.save_pretrained(args.out)
    log.info("written to %s after %.0f s", args.out, time.monotonic() - started)


if __name__ == "__main__":
    main()
