"""What `benchmarks.gpu` measures on: models of known shapes with random weights, envs, the floor of a step."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from benchmarks import setting

SMOLLM2 = dict(  # SmolLM2-135M
    vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
    num_key_value_heads=3, max_position_embeddings=8192, rope_theta=100_000.0, rms_norm_eps=1e-5,
    tie_word_embeddings=True, bos_token_id=49_150, eos_token_id=49_151,
)  # fmt: skip
TINY = dict(
    SMOLLM2, vocab_size=512, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6,
    num_key_value_heads=2, bos_token_id=510, eos_token_id=511,
)  # fmt: skip
GPT2 = dict(vocab_size=50_257, n_embd=768, n_layer=12, n_head=12, n_positions=1024)  # GPT-2 124M
TINY_GPT2 = dict(vocab_size=512, n_embd=48, n_layer=2, n_head=4, n_positions=1024)


@dataclass
class Sizes:
    """What is measured, and how often."""

    device: str
    quick: bool
    llama: dict[str, Any]
    gpt2: dict[str, Any]
    batches: tuple[int, ...]
    prompt: int
    new: int
    bandwidth: float = 1.0  # bytes per second, of a copy: read plus written

    @classmethod
    def full(cls, device: str, quick: bool) -> Sizes:
        return cls(device, quick, SMOLLM2, GPT2, (64, 256, 1024, 4096), prompt=10, new=96)

    @classmethod
    def tiny(cls, device: str) -> Sizes:
        return cls(device, False, TINY, TINY_GPT2, (2, 4, 6, 8), prompt=5, new=8)

    @property
    def steps(self) -> int | None:
        """For `collect`: on a CPU the path of several tokens is asked for, on a GPU it is the default."""
        return None if self.device.startswith("cuda") else 8

    @property
    def repeats(self) -> int:
        return 2 if self.quick else 3

    @property
    def is_tiny(self) -> bool:
        """Whether the sizes are for a look at the script itself."""
        return self.llama is TINY


def llama(sizes: Sizes, dtype: torch.dtype = torch.bfloat16) -> PreTrainedModel:
    """A model of SmolLM2-135M's shape, random, whose EOS is as unlikely as any other token."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**sizes.llama)).eval().to(sizes.device, dtype)


def gpt2(sizes: Sizes, dtype: torch.dtype = torch.bfloat16) -> PreTrainedModel:
    """A model of GPT-2's shape, random."""
    size = sizes.gpt2["vocab_size"]
    config = GPT2Config(**sizes.gpt2, bos_token_id=size - 2, eos_token_id=size - 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT2LMHeadModel(config).eval().to(sizes.device, dtype)


def env(sizes: Sizes, rows: int, vocabulary: int, prompt: int, new: int, **options: Any) -> Any:
    """An env of so many rows with prompts of `prompt` tokens and answers of at most `new`, paid by sentiment."""
    texts = [" ".join(f"w{i * 15 + j}" for j in range(prompt - 1)) for i in range(64)]
    settings = dict(prompts=texts, max_context_tokens=prompt + new) | options
    return setting.env(rows, new, vocabulary, device=sizes.device, **settings)


def floor(sizes: Sizes, model: PreTrainedModel, rows: int, length: float) -> float:
    """Tokens per second if a step took as long as its memory traffic; rows have `length` tokens on average."""
    config = model.config
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    dim = config.hidden_size // config.num_attention_heads
    each = next(model.parameters()).element_size()
    cache = 2 * rows * length * config.num_hidden_layers * heads * dim * each
    logits = 2 * rows * config.vocab_size * each
    return rows * sizes.bandwidth / (weights + cache + logits)


def measured_bandwidth(device: str, quick: bool) -> float:
    """Bytes per second that a large copy reads and writes."""
    size = 2**30 if device.startswith("cuda") else 2**24
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    times = []
    for _ in range(5 if quick else 20):
        sync(device)
        start = time.perf_counter()
        target.copy_(source)
        sync(device)
        times.append(time.perf_counter() - start)
    return 2 * size / min(times)


def sync(device: str) -> None:
    """Wait until the device has done what it was asked for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def release(device: str) -> None:
    """Hand back what is no longer used on the device."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
