"""Makes the tiny language models of the two small worlds, `maze-lm` and `walk-lm`, from random weights.

    python -m dyngen_agents.pretraining.make_tiny_lm maze --out FOLDER
    python -m dyngen_agents.pretraining.make_tiny_lm random_walk --out FOLDER

A Llama of two layers reads scripted behaviour (`behaviour.py`), token by token as the environment writes it, and learns
what the walker said, not what the world answered. Long episodes it first reads in pieces, which costs less. So it is
behaviour cloning, and reinforcement learning begins where the published tasks begin. The tokenizer knows the phrases of
its world by heart; a move is two words and the end of the turn.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dyngen_agents.data.episodes import Episode
from dyngen_agents.pretraining.behaviour import BEHAVIOUR, with_tokens
from dyngen_agents.pretraining.make_reviews_lm import IGNORED, save
from dyngen_env.scoring.worlds import maze, random_walk
from dyngen_env.text.huggingface import adapted
from dyngen_env.text.padding import pad_rows
from dyngen_env.types import Example

log = logging.getLogger(__name__)

END, PAD, UNKNOWN = "<|end|>", "<|pad|>", "<|unknown|>"
SIDES = ("to your left", "to your right", "above you", "below you")


@dataclass(frozen=True)
class Recipe:
    """What is read, and how it is learned. Not tuned."""

    seed: int = 0
    episodes: int = 1_000
    piece: int | None = None  # turns of the pieces that are read before whole episodes; None reads whole ones alone
    piece_epochs: int = 4
    whole: int = 200  # episodes that are read whole after the pieces
    pieces: tuple[str, ...] = ()  # of text, which are tokens
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    window: int = 2048
    learning_rate: float = 3e-3
    warmup_steps: int = 20
    batch_tokens: int = 8192  # padding included
    weight_decay: float = 0.1


MAZE_PIECES = (
    "The goal is at position 8, 6. Your current position is at position ",
    ". There are walls ",
    ". There is a wall ",
    *SIDES,
    *(f", {side}" for side in SIDES),
    *(f", {digit}" for digit in "0123456789"),
    "Success",
    "move",
    *(move.removeprefix("move") for move in maze.MOVES),
    *(chr(code) for code in range(32, 127)),
)

RECIPES = {
    "maze": Recipe(pieces=MAZE_PIECES, piece=6),
    "random_walk": Recipe(episodes=20_000, pieces=tuple(random_walk.EDGES), window=64, batch_tokens=1024),
}


def tokenizer_of(recipe: Recipe) -> PreTrainedTokenizerFast:
    """A tokenizer that writes a text with as few of the pieces as possible."""
    control = (END, PAD, UNKNOWN)
    pieces = [(piece, 0.0) for piece in control] + [(piece, -1.0) for piece in recipe.pieces]
    unigram = Tokenizer(models.Unigram(pieces, unk_id=control.index(UNKNOWN)))
    unigram.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=unigram,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=recipe.window,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def untrained(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The model with random weights, which the seed decides."""
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=2 * recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            max_position_embeddings=recipe.window,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def train(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, episodes: Sequence[Episode]) -> LlamaForCausalLM:
    """The model after it has read the episodes: their pieces, if they are to be cut, and then whole ones."""
    model: Any = untrained(recipe, tokenizer).train()
    made = lesson(episodes, recipe, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    started = time.monotonic()
    for step, (ids, labels) in enumerate(made):
        for group in optimizer.param_groups:
            cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * step / len(made))) / 2
            group["lr"] = recipe.learning_rate * cosine * min(1.0, (step + 1) / recipe.warmup_steps)
        model.zero_grad()
        logits = model(ids).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0 or step + 1 == len(made):
            log.info("batch %d of %d, %.0f s: %.3f nats", step + 1, len(made), time.monotonic() - started, loss.item())
    return model.eval()


def lesson(
    episodes: Sequence[Episode], recipe: Recipe, tokenizer: PreTrainedTokenizerFast
) -> list[tuple[Tensor, Tensor]]:
    """(ids, labels) of all batches in the order in which they are read."""
    if recipe.piece is None:
        return batches(with_tokens(episodes, adapted(tokenizer), ""), recipe, 0)
    pieces = with_tokens([p for e in episodes for p in cut(e, recipe.piece)], adapted(tokenizer), "")
    whole = with_tokens(episodes[: recipe.whole], adapted(tokenizer), "")
    read = [batch for epoch in range(recipe.piece_epochs) for batch in batches(pieces, recipe, epoch)]
    return read + batches(whole, recipe, recipe.piece_epochs)


def cut(episode: Episode, turns: int) -> list[Episode]:
    """Pieces of an episode of so many turns, each as if the episode had begun with the answer before it."""
    starts = range(0, len(episode.completions), turns)
    prompts = [episode.example.prompt, *(answer.text for answer in episode.feedback)]
    parts = [slice(start, start + turns) for start in starts]
    return [
        Episode(Example(prompts[part.start]), episode.completions[part], episode.feedback[part], answered=True)
        for part in parts
    ]


def batches(episodes: Sequence[Episode], recipe: Recipe, epoch: int) -> list[tuple[Tensor, Tensor]]:
    """(ids, labels), each (B, T), episodes of similar length together, in random order."""
    rows = sorted((_row(episode) for episode in episodes), key=lambda row: len(row[0]))
    out, group = [], list[tuple[list[int], list[int]]]()
    for row in rows:
        if group and (len(group) + 1) * len(row[0]) > recipe.batch_tokens:
            out.append(_padded(group))
            group = []
        group.append(row)
    out.append(_padded(group))
    order = torch.randperm(len(out), generator=torch.Generator().manual_seed(recipe.seed + epoch)).tolist()
    return [out[i] for i in order]


def _row(episode: Episode) -> tuple[list[int], list[int]]:
    """An episode's ids, and its labels: IGNORED where the walker did not speak."""
    assert episode.tokens is not None
    ids = list(episode.tokens.ids)
    labels = [IGNORED] * len(ids)
    for start, end in episode.tokens.turns:
        labels[start:end] = ids[start:end]
    return ids, labels


def _padded(rows: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    ids, labels = zip(*rows, strict=True)
    return pad_rows(ids, fill=0), pad_rows(labels, fill=IGNORED)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=RECIPES)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, in Hugging Face format")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; another number rounds differently")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = RECIPES[args.world]
    _, played = BEHAVIOUR[args.world]
    tokenizer = tokenizer_of(recipe)
    model: Any = train(recipe, tokenizer, played(recipe.episodes, recipe.seed))
    args.out.mkdir(parents=True, exist_ok=True)
    save(model, tokenizer, args.out)
    log.info("written to %s", args.out)


if __name__ == "__main__":
    main()
