"""The common setting of the benchmarks: a random GPT-2 of 4 layers x 256, vocabulary 4096, prompts of 16 tokens."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import dyngen_env  # noqa: F401  (registers the ids)

PROMPT, NEW, VOCABULARY = 16, 48, 4096


class Words:
    """A tokenizer whose tokens are short words; the last ids are BOS and EOS. Prompts encode to 16 tokens."""

    name = "words"

    def __init__(self, size: int = VOCABULARY):
        self.bos, self.eos = size - 2, size - 1
        self.end_ids, self.control_ids = frozenset({self.eos}), frozenset({self.bos, self.eos})
        stems = ("good", "bad", "film", "plot", "and", "the", "so", "very")
        self.token_bytes = (*(f" {stems[i % 8]}{i // 8}".encode() for i in range(size - 2)), b"", b"")

    def __len__(self) -> int:
        return len(self.token_bytes)

    def encode(self, text: str) -> list[int]:
        return [sum(word.encode()) * 31 % (len(self) - 2) for word in text.split()]

    def encode_prompt(self, text: str) -> list[int]:
        return [self.bos, *self.encode(text)]

    encode_opening = encode_prompt

    def encode_reply(self, text: str, last: int, rating: float | None = None) -> list[int]:
        return self.encode(text)


def prompts(count: int = 64) -> list[str]:
    """Texts of 15 words: 16 tokens with BOS."""
    return [" ".join(f"w{i * 15 + j}" for j in range(PROMPT - 1)) for i in range(count)]


def model(vocabulary: int = VOCABULARY, positions: int = 512, device: str = "cpu") -> GPT2LMHeadModel:
    """GPT-2 of 4 layers x 256, random, whose EOS is as unlikely as any other token."""
    config = GPT2Config(
        vocab_size=vocabulary, n_embd=256, n_layer=4, n_head=4, n_positions=positions,
        bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPT2LMHeadModel(config).eval().to(device)


def env(num_envs: int, new: int = NEW, vocabulary: int = VOCABULARY, device: str = "cpu", **options):
    """A native vector env for that model; texts are rewarded by their sentiment."""
    settings: dict[str, Any] = dict(
        tokenizer=Words(vocabulary), prompts=prompts(), reward="sentiment", max_new_tokens=new,
        max_context_tokens=PROMPT + new, output="torch", autoreset_mode="same_step", device=device,
    )  # fmt: skip
    return gym.make_vec("dyngen/Generate-v0", num_envs=num_envs, **(settings | options))
