"""Trains `reviews-lm`, the embedded language model, and writes its folder and model card.

    python -m dyngen_agents.pretraining.make_reviews_lm --out FOLDER

A GPT-2 of a few million parameters on the train split of `load_reviews`: a quarter of a million words, so it is
mostly a matter of not learning them by heart. What helps is what helped LSTMs on corpora of this size (Merity et al.
2018, arXiv 1708.02182): dropout masks shared along a text, averaged weights, weight decay. The number of steps is
chosen on the tune split; the eval split is read once, for the card.
"""

import argparse
import copy
import logging
import math
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase

import dyngen_env.assets
from dyngen_agents.pretraining.ngrams import baseline_perplexities
from dyngen_agents.pretraining.reviews_lm_card import CARD
from dyngen_agents.pretraining.reviews_tokenizer import train_tokenizer
from dyngen_env.assets.reviews import KINDS, load_reviews
from dyngen_env.text.padding import pad_rows

IGNORED = -100  # the label that cross_entropy skips
DEFAULT_OUT = Path(dyngen_env.assets.__file__).with_name("reviews-lm")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How the model is made. Width, depth, dropout and optimizer were chosen among a few on the tune split."""

    seed: int = 0
    vocab_size: int = 4096
    window: int = 512  # tokens
    width: int = 192
    layers: int = 4
    heads: int = 6
    dropout: float = 0.2
    epochs: int = 8  # the length of the learning rate's cosine; the best epoch on the tune split is kept
    batch_tokens: int = 1024  # padding included
    packed: float = 0.12  # share of the texts that come joined to rows of `window` tokens, so that all positions learn
    learning_rate: float = 3e-3  # of both optimizers
    warmup_steps: int = 100
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)  # of AdamW
    averaging: float = 0.995  # of the weights, per step


class SharedDropout(nn.Module):
    """Dropout with one mask for all positions of a text (Gal and Ghahramani 2016, arXiv 1512.05287)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.empty(x.shape[0], 1, x.shape[2], dtype=x.dtype).bernoulli_(1 - self.p)  # (B, 1, D)
        return x * keep / (1 - self.p)


def build(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> GPT2LMHeadModel:
    """A new model whose saved configuration has no dropout: it is in the modules, and only while training."""
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=recipe.window,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own, computed in one step
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: Any = GPT2LMHeadModel(config)
    model.transformer.drop = SharedDropout(recipe.dropout)
    for block in model.transformer.h:
        block.attn.resid_dropout = SharedDropout(recipe.dropout)
        block.mlp.dropout = SharedDropout(recipe.dropout)
    return model


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Each text as ids: BOS, the text, EOS."""
    return [[*ids, tokenizer.eos_token_id] for ids in tokenizer(list(texts))["input_ids"]]


def batches(texts: list[list[int]], recipe: Recipe, pad: int, rng: random.Random) -> list[tuple[Tensor, Tensor]]:
    """One epoch of (ids, labels), each (B, T), in random order: packed rows, and texts of similar length together."""
    texts = rng.sample(texts, len(texts))
    cut = int(len(texts) * recipe.packed)
    joined = [token for ids in texts[:cut] for token in ids]
    packed = [joined[i : i + recipe.window] for i in range(0, len(joined) - recipe.window + 1, recipe.window)]
    single = sorted(texts[cut:], key=lambda ids: len(ids) + 6 * rng.random())
    made = [_padded(rows, pad) for rows in (*_fill(packed, recipe.batch_tokens), *_fill(single, recipe.batch_tokens))]
    rng.shuffle(made)
    return made


def _fill(texts: Sequence[list[int]], batch_tokens: int) -> Iterator[list[list[int]]]:
    rows: list[list[int]] = []
    longest = 0
    for ids in texts:
        longest = max(longest, len(ids))
        if rows and (len(rows) + 1) * longest > batch_tokens:
            yield rows
            rows, longest = [], len(ids)
        rows.append(ids)
    if rows:
        yield rows


def _padded(rows: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    return pad_rows(rows, fill=pad), pad_rows(rows, fill=IGNORED)


@torch.no_grad()
def perplexity(model: GPT2LMHeadModel, texts: Sequence[list[int]]) -> float:
    """exp of the mean negative log-prob per predicted token (EOS included, BOS given)."""
    total, count = 0.0, 0
    for rows in _fill(sorted(texts, key=len), 4096):
        ids, labels = _padded(rows, pad=0)  # any id: what stands to the right is not seen
        logits = model(ids).logits[:, :-1]  # (B, T - 1, V)
        wanted = labels[:, 1:]
        total += F.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="sum").item()
        count += int((wanted != IGNORED).sum())
    return math.exp(total / count)


def train(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> tuple[GPT2LMHeadModel, int]:
    """The averaged model of the epoch with the best perplexity on the tune split, and the number of that epoch."""
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    texts = encode(tokenizer, [r.text for r in load_reviews("train")])
    tune = encode(tokenizer, [r.text for r in load_reviews("tune")])
    model = build(recipe, tokenizer).train()
    average = copy.deepcopy(model).eval()
    optimizers = build_optimizers(model, recipe)
    steps = recipe.epochs * len(batches(texts, recipe, tokenizer.pad_token_id, random.Random(recipe.seed)))
    step, best, kept, kept_epoch, started = 0, math.inf, None, 0, time.monotonic()
    for epoch in range(1, recipe.epochs + 1):
        for ids, labels in batches(texts, recipe, tokenizer.pad_token_id, rng):
            model.zero_grad()
            loss(model, ids, labels).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(recipe, step, steps)
                optimizer.step()
            step += 1
            with torch.no_grad():  # a short memory at first, or the random start would stay in the average
                decay = min(recipe.averaging, step / (step + 10))
                torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        now = perplexity(average, tune)
        log.info("epoch %d, %.0f s: perplexity on the tune split %.2f", epoch, time.monotonic() - started, now)
        if now < best:
            best, kept, kept_epoch = now, copy.deepcopy(average.state_dict()), epoch
    average.load_state_dict(kept)
    return average, kept_epoch


def build_optimizers(model: GPT2LMHeadModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, with the step size of AdamW (Liu et al. 2025, arXiv
    2502.16982); AdamW for embeddings, gains and biases.

    With it and half the batch, 2 epochs did what 5 did with AdamW alone.
    """
    matrices = [p for p in model.transformer.h.parameters() if p.dim() > 1]
    embeddings = [model.transformer.wte.weight, model.transformer.wpe.weight]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    decay = recipe.weight_decay
    return [
        torch.optim.Muon(matrices, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": embeddings, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}],
            betas=recipe.betas,
            fused=True,
        ),
    ]


def loss(model: GPT2LMHeadModel, ids: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-prob; the vocabulary is computed where something is predicted only."""
    wanted = labels[:, 1:]
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.transformer(ids).last_hidden_state[:, :-1]  # (B, T - 1, D)
        logits = model.lm_head(hidden[wanted != IGNORED])  # (N, V)
    return F.cross_entropy(logits.float(), wanted[wanted != IGNORED])


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to 2%."""
    cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2
    return recipe.learning_rate * cosine * min(1.0, (step + 1) / recipe.warmup_steps)


@torch.no_grad()
def samples(model: Any, tokenizer: PreTrainedTokenizerBase, count: int, seed: int) -> tuple[list[str], float]:
    """`count` texts drawn from the model (temperature 1, up to 96 tokens), and the share that ended by themselves."""
    torch.manual_seed(seed)
    start = torch.full((count, 1), tokenizer.bos_token_id)
    drawn = model.generate(start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, max_new_tokens=96)
    ended = (drawn == tokenizer.eos_token_id).any(dim=1).float().mean().item()
    return tokenizer.batch_decode(drawn, skip_special_tokens=True), ended


def save(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Weights in float16, which halves the folder and moves log-probs by at most about 0.002."""
    half = copy.deepcopy(model).half()
    half.generation_config.do_sample = True
    half.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes it readable for its owner only


def card(recipe: Recipe, model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, epoch: int, seconds: float) -> str:
    """The model card: what it is, how well it predicts unseen texts, how it writes."""
    ids = {split: encode(tokenizer, [r.text for r in load_reviews(split)]) for split in ("train", "tune", "eval")}
    rows = []
    for label, kind in (("all", None), *((kind, kind) for kind in KINDS)):
        test = encode(tokenizer, [r.text for r in load_reviews("eval", kind)])
        tune = encode(tokenizer, [r.text for r in load_reviews("tune", kind)])
        ngrams = baseline_perplexities(ids["train"], tune, test, len(tokenizer))
        predicted = sum(len(text) - 1 for text in test)
        rows.append(
            f"| {label} | {len(test)} | {predicted} | {ngrams['unigram']:.1f} | {ngrams['bigram']:.1f} "
            f"| **{perplexity(model, test):.1f}** |"
        )
    texts, ended = samples(model, tokenizer, 200, recipe.seed)
    fields = "\n".join(f"| {name} | {value} |" for name, value in asdict(recipe).items())
    parameters = sum(p.numel() for p in model.parameters())
    return CARD.format(
        parameters=f"{parameters / 1e6:.2f}",
        vocab=len(tokenizer),
        window=recipe.window,
        rows="\n".join(rows),
        train=len(ids["train"]),
        train_tokens=sum(map(len, ids["train"])),
        epoch=epoch,
        seed=recipe.seed,
        epochs=recipe.epochs,
        minutes=f"{seconds / 60:.0f}",
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        ended=f"{100 * ended:.0f}",
        samples="\n".join(f"- {text}" for text in texts[:8]),
        recipe=fields,
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write (default: the packaged one)")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; another number rounds differently")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe(seed=args.seed, epochs=args.epochs)
    started = time.monotonic()
    tokenizer = train_tokenizer((r.text for r in load_reviews("train")), recipe.vocab_size, recipe.window)
    model, epoch = train(recipe, tokenizer)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out.parent) as unfinished:
        folder = Path(unfinished, "model")
        save(model, tokenizer, folder)
        # The figures are those of the saved weights, rounded to float16.
        saved = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
        (folder / "README.md").write_text(card(recipe, saved, tokenizer, epoch, time.monotonic() - started))
        if args.out.exists():
            shutil.rmtree(args.out)
        folder.rename(args.out)
    log.info("written to %s", args.out)


if __name__ == "__main__":
    main()
