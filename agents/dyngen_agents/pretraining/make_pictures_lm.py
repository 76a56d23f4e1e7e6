"""Makes `pictures-lm`, a small model that looks at a picture and answers a question in words, from random weights.

    python -m dyngen_agents.pretraining.make_pictures_lm --out FOLDER

A convolutional encoder and a Llama of two layers learn together, supervised, from the train split of the emoji
pictures: in each epoch every thing is shown once, in one of its pictures, shifted and perhaps mirrored, with four
questions about it. Reinforcement learning in `dyngen/Picture-v0` begins there. The tokenizer knows the questions by
heart, and the words of the train split; other words are spelled in letters.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from dyngen_agents.policy.lora import save_lm
from dyngen_agents.pretraining import make_tiny_lm
from dyngen_agents.pretraining.make_reviews_lm import IGNORED
from dyngen_env.assets.pictures import SIDE, EmojiPicture, load_pictures
from dyngen_env.lm.engine.heads import hidden_states, lm_head
from dyngen_env.lm.modalities import MediaEncoder, attach_encoder
from dyngen_env.lm.modalities.picture import PictureConvnet
from dyngen_env.tasks.pictures import COLOURS, IS_IT, KIND, NAME, QUESTIONS
from dyngen_env.text.media import Picture
from dyngen_env.text.media.tokens import span
from dyngen_env.text.padding import pad_rows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What is read, and how it is learned."""

    seed: int = 0
    epochs: int = 30
    things: int = 32  # of a batch, four rows each
    shift: int = 3  # pixels by which a picture is moved at most, up or down and to a side
    hidden: int = 64
    channels: int = 128  # of the encoder's last convolution
    layers: int = 2
    heads: int = 4
    window: int = 64
    learning_rate: float = 2e-3
    warmup_steps: int = 30
    weight_decay: float = 0.05


def pieces() -> tuple[str, ...]:
    """What the tokenizer knows by heart: questions, the words of the train split after a space, and characters."""
    said = {"yes", "no"}
    for picture in load_pictures("train"):
        for phrase in (picture.category, picture.kind, *picture.names, *picture.colours):
            said.update(phrase.split())
    return (*QUESTIONS, *(f" {word}" for word in sorted(said)), *(chr(code) for code in range(32, 127)))


def untrained(recipe: Recipe) -> tuple[Any, PreTrainedTokenizerFast]:
    """The model with its encoder and random weights, which the seed decides, and its tokenizer."""
    tiny = make_tiny_lm.Recipe(
        seed=recipe.seed,
        pieces=pieces(),
        hidden=recipe.hidden,
        layers=recipe.layers,
        heads=recipe.heads,
        window=recipe.window,
    )
    tokenizer = make_tiny_lm.tokenizer_of(tiny)
    model: Any = make_tiny_lm.untrained(tiny, tokenizer)
    attach_encoder(
        model, MediaEncoder({"picture": PictureConvnet(recipe.hidden, (SIDE, SIDE), channels=recipe.channels)})
    )
    return model, tokenizer


def train(
    recipe: Recipe, model: Any, tokenizer: PreTrainedTokenizerFast, pictures: Sequence[EmojiPicture] | None = None
) -> None:
    """Let the model read about pictures, those of the train split by default, by the cross-entropy of its answers."""
    batches = list(lesson(recipe, load_pictures("train") if pictures is None else pictures))
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    started = time.monotonic()
    model.train()
    for step, things in enumerate(batches):
        for group in optimizer.param_groups:
            cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * step / len(batches))) / 2
            group["lr"] = recipe.learning_rate * cosine * min(1.0, (step + 1) / recipe.warmup_steps)
        rng = np.random.default_rng([recipe.seed, step])
        shown, tokens, labels = batch_of(things, tokenizer, model.media_encoder.places["picture"], recipe.shift, rng)
        model.zero_grad()
        answered = labels[:, 1:] != IGNORED  # the head is asked about answers alone: it costs more than the rest
        logits = lm_head(model, hidden_states(model, tokens[:, :-1])[answered])
        loss = F.cross_entropy(logits, labels[:, 1:][answered])
        del shown  # the tokens name pictures that must be held until here
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0 or step + 1 == len(batches):
            log.info(
                "batch %d of %d, %.0f s: %.3f nats", step + 1, len(batches), time.monotonic() - started, loss.item()
            )
    model.eval()


def lesson(recipe: Recipe, pictures: Sequence[EmojiPicture]) -> Iterator[list[EmojiPicture]]:
    """The pictures of each batch, in the order in which they are read: each thing once an epoch, but for a rest."""
    by_base = defaultdict(list)
    for picture in pictures:
        by_base[picture.base].append(picture)
    things = list(by_base.values())
    rng = np.random.default_rng(recipe.seed)
    for _ in range(recipe.epochs):
        order = rng.permutation(len(things))
        for start in range(0, len(things) - recipe.things + 1, recipe.things):
            some = [things[i] for i in order[start : start + recipe.things]]
            yield [of_thing[rng.integers(len(of_thing))] for of_thing in some]


def batch_of(
    pictures: Sequence[EmojiPicture],
    tokenizer: PreTrainedTokenizerFast,
    places: int,
    shift: int,
    rng: np.random.Generator,
) -> tuple[list[Picture], Tensor, Tensor]:
    """Four questions about each picture as rows of tokens (4 N, T), right-padded with -1, and their labels, IGNORED
    where the answer is not; and the pictures as they are shown, which must be held while the tokens are used.
    """
    shown, rows = [], []
    for picture in pictures:
        shown.append(Picture(moved(picture.pixels, shift, rng)))
        for question, answer in lesson_about(picture, rng):
            context = [*span(shown[-1], places), *_ids(tokenizer, question)]
            said = [*_ids(tokenizer, f" {answer}"), tokenizer.eos_token_id]
            rows.append((context + said, [IGNORED] * len(context) + said))
    tokens, labels = zip(*rows, strict=True)
    return shown, pad_rows(tokens, fill=-1), pad_rows(labels, fill=IGNORED)


def lesson_about(picture: EmojiPicture, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Four questions about a picture with a right answer each; which of several right ones, and which category is asked
    about, is drawn.
    """
    asked = picture.category if rng.random() < 0.5 else list(IS_IT)[rng.integers(len(IS_IT))]
    return [
        (NAME, picture.names[rng.integers(len(picture.names))]),
        (KIND, (picture.kind, picture.category)[rng.integers(2)]),
        (COLOURS, " ".join(picture.colours)),
        (IS_IT[asked], "yes" if asked == picture.category else "no"),
    ]


def moved(pixels: np.ndarray, shift: int, rng: np.random.Generator) -> np.ndarray:
    """A picture (H, W, 3) moved by up to `shift` pixels each way on white paper, and mirrored or not."""
    height, width, _ = pixels.shape
    down, right = rng.integers(0, 2 * shift + 1, size=2)
    paper = np.pad(pixels, ((shift, shift), (shift, shift), (0, 0)), constant_values=255)
    seen = paper[down : down + height, right : right + width]
    return np.ascontiguousarray(seen[:, ::-1] if rng.random() < 0.5 else seen)


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model, its encoder and the tokenizer, weights in float16, which halves the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    half = copy.deepcopy(model).half()
    half.generation_config.do_sample = True
    save_lm(half, folder)
    tokenizer.save_pretrained(folder)


def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, in Hugging Face format")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; another number rounds differently")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe(seed=args.seed, epochs=args.epochs)
    model, tokenizer = untrained(recipe)
    train(recipe, model, tokenizer)
    save(model, tokenizer, args.out)
    log.info("written to %s", args.out)


if __name__ == "__main__":
    main()
