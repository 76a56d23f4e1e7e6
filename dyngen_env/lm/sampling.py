"""Draws tokens by inverting the cumulative distribution, from random numbers that are a hash of seed, row and step.

As the random numbers are a pure function and no generator's state, a row draws the same ones whatever the other rows do
and on every device, and a resumed run goes on exactly where it stopped. `torch.multinomial` would cost 20 times as much
on a CPU (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import torch

# 64-bit constants of splitmix64 (Steele, Lea and Flood 2014), as signed integers.
_GOLDEN, _MIX1, _MIX2 = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


def uniforms(seed: int | torch.Tensor, rows: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Uniform random numbers (B,) float32 in [0, 1), the same on every device.

    Args:
        seed: any integer, or a tensor with one, as `seed_tensor` makes it.
        rows, steps: (B,) int64 each. Equal seed, row and step give equal numbers; all others are independent.
    """
    own = seed if isinstance(seed, torch.Tensor) else _signed(seed)
    z = _finalise(rows * 0x2545F4914F6CDD1D + own + _GOLDEN)
    z = _finalise(z + steps * _GOLDEN)
    return (_shift(z, 40)).float() * 2.0**-24


def seed_tensor(seed: int, device: torch.device | str) -> torch.Tensor:
    """(1,) int64: a seed of `uniforms` that lives on a device."""
    return torch.tensor([_signed(seed)], device=device)


def sample(logits: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token for each row by inverting the cumulative distribution.

    Args:
        logits: (B, V) float32, from `TokenDistribution.logits`; not normalised, -inf where a token cannot be drawn.
        uniform: (B,) float32 in [0, 1), from `uniforms`.

    Returns:
        tokens (B,) int64 and their log-probs (B,) float32, normalised.
    """
    logp = logits.log_softmax(-1)
    cumulative = logp.exp().cumsum_(-1)  # (B, V); float32 is enough: the last entry is the total
    threshold = (uniform * cumulative[:, -1]).unsqueeze(1)  # < total, since uniform <= 1 - 2**-24
    tokens = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=logits.shape[-1] - 1)
    return tokens.squeeze(1), logp.gather(1, tokens).squeeze(1)


def greedy(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The most likely token of each row of logits (B, V), the first of equals, and its log-prob: (B,) each."""
    tokens = logits.argmax(-1)
    return tokens, logits.log_softmax(-1).gather(1, tokens.unsqueeze(1)).squeeze(1)


def _finalise(z: torch.Tensor) -> torch.Tensor:
    z = (z ^ _shift(z, 30)) * _MIX1
    z = (z ^ _shift(z, 27)) * _MIX2
    return z ^ _shift(z, 31)


def _shift(z: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical shift right of int64, which torch shifts arithmetically."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
