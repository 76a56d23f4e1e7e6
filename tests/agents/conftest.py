"""A tiny language model in a folder, for tests of everything around a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.training import train as train_module
from dyngen_agents.training.learning_curve import PANELS

SENTENCES = [
    "The film is good and the story is great.",
    "The film is bad and the story is awful.",
    "A happy, funny, lovely picture that we enjoy.",
    "A sad, dull, terrible picture that we hate.",
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with a random GPT-2 of two layers and a byte-level BPE tokenizer of about 300 tokens."""
    folder = tmp_path_factory.mktemp("tiny-model")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|bos|>", "<|eos|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(SENTENCES * 10, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>"
    )
    tokenizer.save_pretrained(folder)
    ends = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = dict(vocab_size=len(tokenizer), n_positions=128, n_embd=32, n_layer=2, n_head=2)
        GPT2LMHeadModel(GPT2Config(**size, **ends)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory) -> Path:
    """Sixty short prompts, some of which fall into the eval part."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("".join(f"The film number {i} is\n" for i in range(60)))
    return path


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Runs read what a learning curve shows, and draw none: it takes as long as all else in a run of a tiny model."""

    def read(path: Path, metrics: Sequence[dict[str, Any]], title: str) -> None:
        assert all(name in record for name, *_ in PANELS for record in metrics)

    monkeypatch.setattr(train_module, "draw_learning_curve", read)


@pytest.fixture
def tiny_config(tiny_model, prompts_file, tmp_path, monkeypatch, undrawn) -> Callable[..., TrainConfig]:
    """Settings of a run that takes a second, with changes; runs/ is in a folder of the test."""
    monkeypatch.chdir(tmp_path)

    def make(**changes) -> TrainConfig:
        settings = dict(model=str(tiny_model), prompts=str(prompts_file), max_new_tokens=6, num_envs=8, episodes=8)
        return TrainConfig(**(settings | dict(updates=3, save_every=2) | changes))

    return make
