"""Teaches `reviews-lm` what a dialogue is, by simulated ones, so that reinforcement learning can begin with it.

    python -m dyngen_agents.pretraining.make_dialogue_lm --threads 2 --out FOLDER

FOLDER is what ships as "dialogue-lm", so `dyngen train ppo --env dyngen/Dialogue-v0 --model dialogue-lm` begins there.
The role tokens of reviews-lm are untrained: it does not know where a turn begins or ends, and nothing ties its turns
to what the user said. Here it reads dialogues between `SimulatedUser` and an agent whose turns are pieces of reviews of
the train split, token by token as the environment writes them; it learns the agent's turns only. The first is drawn at
random; of the later ones a share, `follows`, does what was asked for. Four small layers learn the format from that, and
a little listening (with half the turns drawn at random, none at all); the rest is left to learn from rewards.
"""

import argparse
import logging
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dyngen_agents.pretraining.make_reviews_lm import IGNORED, loss, save
from dyngen_env.assets.reviews import film_prompts, load_reviews
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.text.huggingface import HFTokenizer, adapted
from dyngen_env.text.padding import pad_rows
from dyngen_env.types import Dialogue, Example
from dyngen_env.users.personas import Persona
from dyngen_env.users.simulated import SimulatedUser

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What is read, and how it is learned. `follows` and the amount were chosen among four by how well users liked the
    second turns; the rest is not tuned."""

    seed: int = 0
    dialogues: int = 24_000
    pieces: int = 27_000  # different things that the agent may say, at most
    follows: float = 1.0  # share of the turns after the first that do what the user wants
    max_turns: int = 4  # as dyngen/Dialogue-v0
    max_new_tokens: int = 20  # as dyngen/Dialogue-v0
    learning_rate: float = 2e-3
    warmup_steps: int = 20
    batch_tokens: int = 2048  # padding included
    weight_decay: float = 0.1


class Pieces:
    """Pieces of reviews of one split, each no longer than a turn, and which of them please whom."""

    def __init__(self, split: str, user: SimulatedUser, tokenizer: HFTokenizer, recipe: Recipe):
        parts = sorted({part for review in load_reviews(split) for part in _parts(review.text)})
        random.Random(recipe.seed).shuffle(parts)
        encoded = ((part, tokenizer.encode(" " + part)) for part in parts[: recipe.pieces])
        self.ids = {part: ids for part, ids in encoded if len(ids) < recipe.max_new_tokens}
        self.all = list(self.ids)
        preferences = user.population.preferences.values()
        self.pleasing = {p.name: [part for part in self.all if p.fit(part) > 0.5] for p in preferences}
        for name, parts_for in self.pleasing.items():
            if not parts_for:
                raise ValueError(f"no piece of a {split} review pleases somebody who wants {name!r}")

    def draw(self, persona: Persona, follows: float, rng: random.Random) -> str:
        """Something to say: for this person with probability `follows`, else anything."""
        return rng.choice(self.pleasing[rng.choice(persona.wants)] if rng.random() < follows else self.all)


def _parts(text: str) -> list[str]:
    """A review, its sentences, and their clauses."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    clauses = [clause for sentence in sentences for clause in re.split(r"(?<=[,;:])\s+|\s-+\s", sentence)]
    return [part.rstrip(",;:") for part in (text, *sentences, *clauses) if len(part.split()) > 1]


def dialogues(split: str, recipe: Recipe, tokenizer: HFTokenizer) -> Iterator[tuple[list[int], list[int]]]:
    """(ids, labels) of `recipe.dialogues` dialogues; the labels of what the agent did not say are IGNORED."""
    user = SimulatedUser()
    pieces = Pieces(split, user, tokenizer, recipe)
    prompts, rng = film_prompts(split), random.Random(f"{split} {recipe.seed}")
    (end,) = tokenizer.hf.convert_tokens_to_ids(["<|end|>"])
    for number in range(recipe.dialogues):

        def chance(turn: int, number: int = number) -> list[np.random.Generator]:
            return [np.random.default_rng([recipe.seed, number, turn])]

        example = Example(rng.choice(prompts))
        talk = Dialogue(example, user.begin([example], chance(0))[0])
        ids = tokenizer.encode_opening(example.prompt)
        labels = [IGNORED] * len(ids)
        for turn in range(1, recipe.max_turns + 1):
            said = pieces.draw(talk.persona, recipe.follows if turn > 1 else 0.0, rng)
            ids += [*pieces.ids[said], end]
            labels += [*pieces.ids[said], end]
            talk = talk.said(said)
            answer = user.reply([talk], chance(turn))[0]
            talk = talk.heard(answer)
            if answer.ends or turn == recipe.max_turns:
                break
            reply = tokenizer.encode_reply(answer.text, end)
            ids += reply
            labels += [IGNORED] * len(reply)
        yield ids, labels


def batches(rows: Sequence[tuple[list[int], list[int]]], recipe: Recipe) -> list[tuple[Tensor, Tensor]]:
    """(ids, labels), each (B, T), dialogues of similar length together, in random order."""
    rng, out = random.Random(recipe.seed), []
    group: list[tuple[list[int], list[int]]] = []
    for row in sorted(rows, key=lambda row: len(row[0])):
        if (len(group) + 1) * len(row[0]) > recipe.batch_tokens:
            out.append(_padded(group))
            group = []
        group.append(row)
    out.append(_padded(group))
    rng.shuffle(out)
    return out


def _padded(rows: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    ids, labels = zip(*rows, strict=True)
    return pad_rows(ids, fill=0), pad_rows(labels, fill=IGNORED)


def train(recipe: Recipe) -> Any:
    """reviews-lm after one pass over the dialogues, each of which is another one."""
    torch.manual_seed(recipe.seed)
    tokenizer = adapted(load_tokenizer("reviews-lm"))
    model: Any = load_model("reviews-lm", fresh=True)
    made = batches(list(dialogues("train", recipe, tokenizer)), recipe)
    held_out = batches(list(dialogues("tune", replace(recipe, dialogues=200), tokenizer)), recipe)
    log.info("%d batches; nats per token of the agent before: %.3f", len(made), _mean_loss(model, held_out))
    started = time.monotonic()
    read(model, made, recipe)
    log.info("after %.0f s: %.3f", time.monotonic() - started, _mean_loss(model, held_out))
    return model


def read(model: Any, made: Sequence[tuple[Tensor, Tensor]], recipe: Recipe) -> None:
    """One pass of a model over (ids, labels), in their order."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    for step, (ids, labels) in enumerate(made):
        for group in optimizer.param_groups:  # up, then straight down to a tenth
            down = 1 - 0.9 * step / len(made)
            group["lr"] = recipe.learning_rate * min(down, (step + 1) / recipe.warmup_steps)
        model.zero_grad()
        loss(model, ids, labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def _mean_loss(model: Any, made: Sequence[tuple[Tensor, Tensor]]) -> float:
    weights = [int((labels[:, 1:] != IGNORED).sum()) for _, labels in made]
    return float(np.average([float(loss(model, ids, labels)) for ids, labels in made], weights=weights))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, in Hugging Face format")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--dialogues", type=int, default=Recipe.dialogues)
    parser.add_argument("--follows", type=float, default=Recipe.follows)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = train(Recipe(seed=args.seed, dialogues=args.dialogues, follows=args.follows))
    args.out.mkdir(parents=True, exist_ok=True)
    save(model, load_tokenizer("reviews-lm"), args.out)
    log.info("written to %s", args.out)


if __name__ == "__main__":
    main()
