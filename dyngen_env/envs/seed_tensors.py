"""Episode seeds as tensor operations: what PCG64 generators will draw, and which examples the seeds choose.

The same numbers as `seeding.EpisodeSeeds` and `seeding.stream_uniform`, bit for bit, for all rows at once and without
the host. PCG64 (O'Neill, 2014, "PCG: a family of simple fast space-efficient statistically good algorithms for random
number generation", as numpy has it) is a linear congruential generator of 128 bits, sₖ₊₁ = a·sₖ + c, whose output is
s.hi ^ s.lo, rotated to the right by the upper 6 bits of s. As sₖ = Aₖ·s₀ + Bₖ·c with Aₖ = aᵏ and
Bₖ = 1 + a + ... + aᵏ⁻¹, the next draws of all rows are one expression. An unsigned number of 64 bits is kept in an
int64, whose arithmetic wraps.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dyngen_env.envs.seeding import GOLDEN, MIX1, MIX2

_A = 0x2360ED051FC65DA44385DF649FCCF645
_LOW = 2**32 - 1
_SIGN = -(2**63)


class Wide(NamedTuple):
    """Numbers of 128 bits: their upper and their lower 64."""

    hi: Tensor
    lo: Tensor


class Jumps(NamedTuple):
    """Aₖ and Bₖ for some k, each (k,)."""

    a: Wide
    b: Wide

    def at(self, index: Tensor) -> Jumps:
        """Those at these places of the list."""
        return Jumps(*(Wide(part.hi[index], part.lo[index]) for part in self))


def wide(numbers: Sequence[int], device: torch.device) -> Wide:
    """Python's numbers below 2**128 (N,), on a device."""
    halves = np.array([[n >> 64, n & (2**64 - 1)] for n in numbers], dtype=np.uint64).view(np.int64)
    return Wide(*torch.from_numpy(halves.T.copy()).to(device).unbind())


def jumps(first: int, last: int, device: torch.device) -> Jumps:
    """The jumps by k = first, ..., last; negative ones go back."""
    a = [pow(_A, k, 2**128) for k in range(first, last + 1)]
    # Division by a - 1, which is even: modulo a multiple of it. Back by k: s₀ = A₋ₖ·(sₖ - Bₖ·c), so B₋ₖ = -A₋ₖ·Bₖ.
    sums = [(pow(_A, abs(k), 2**128 * (_A - 1)) - 1) // (_A - 1) for k in range(first, last + 1)]
    b = [s if k >= 0 else -own * s for k, own, s in zip(range(first, last + 1), a, sums, strict=True)]
    return Jumps(wide(a, device), wide([s % 2**128 for s in b], device))


def jump(state: Wide, increment: Wide, by: Jumps) -> Wide:
    """The states after k draws, sₖ = Aₖ·s₀ + Bₖ·c."""
    return _add(_times(state, by.a), _times(increment, by.b))


def draws(state: Wide, increment: Wide, by: Jumps) -> Tensor:
    """What `generator.integers(2**63)` gives for draw k: the output of state sₖ without its last bit."""
    hi, lo = jump(state, increment, by)
    mixed, turn = hi ^ lo, _shifted(hi, 58)
    # A shift by 64 is not defined, so that by 64 - 0 is made in two.
    rotated = (_shifted_by(mixed, turn)) | ((mixed << (63 - turn)) << 1)
    return _shifted(rotated, 1)


def uniforms(seeds: Tensor, stream: str) -> Tensor:
    """`seeding.stream_uniform` of these seeds: float64 in [0, 1)."""
    z = seeds + _signed(int(GOLDEN) * (zlib.crc32(stream.encode()) + 1))
    z = (z ^ _shifted(z, 30)) * _signed(int(MIX1))
    z = (z ^ _shifted(z, 27)) * _signed(int(MIX2))
    return _shifted(z ^ _shifted(z, 31), 11).double() * 2.0**-53


def _signed(number: int) -> int:
    number %= 2**64
    return number - 2**64 if number >= 2**63 else number


def _shifted(x: Tensor, bits: int) -> Tensor:
    """x >> bits, unsigned."""
    return (x >> bits) & (2 ** (64 - bits) - 1)


def _shifted_by(x: Tensor, bits: Tensor) -> Tensor:
    """The same for as many bits as a tensor says, 0 to 63: x without its sign, and then the sign's own bit."""
    return ((x & ~_SIGN) >> bits) | ((x < 0).long() << (63 - bits))


def _times(x: Wide, y: Wide) -> Wide:
    """x · y mod 2**128, in four products of 32 bits."""
    x0, x1, y0, y1 = x.lo & _LOW, _shifted(x.lo, 32), y.lo & _LOW, _shifted(y.lo, 32)
    cross1, cross2 = x0 * y1, x1 * y0
    middle = _shifted(x0 * y0, 32) + (cross1 & _LOW) + (cross2 & _LOW)
    carried = x1 * y1 + _shifted(cross1, 32) + _shifted(cross2, 32) + _shifted(middle, 32)
    return Wide(carried + x.hi * y.lo + x.lo * y.hi, x.lo * y.lo)


def _add(x: Wide, y: Wide) -> Wide:
    """x + y mod 2**128."""
    lo = x.lo + y.lo
    carry = (lo ^ _SIGN) < (y.lo ^ _SIGN)  # unsigned: the sum wrapped
    return Wide(x.hi + y.hi + carry, lo)
