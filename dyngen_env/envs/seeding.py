"""Where chance comes from: each row's generator draws one seed per episode, and each use of chance has a stream of it.

A stream is a generator that is seeded with the episode's seed and the stream's name, "task" or "user". So what the user
draws never changes which prompt is played. Seeds are drawn from the generators in blocks, because a single 64-bit draw
costs more than what a row costs in a step of the env.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium.utils.seeding import np_random

BLOCK = 16
UNKNOWN = -1  # Gymnasium's word for the seed of a generator that was not seeded by its env
MIX1, MIX2, GOLDEN = (
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
    np.uint64(0x9E3779B97F4A7C15),
)


def stream_uniform(episode_seeds: np.ndarray, stream: str) -> np.ndarray:
    """(R,) float64 in [0, 1): one uniform number for each episode, from the named stream of its seed (R,) uint64.

    It is a hash, so that many episodes cost no generator each: the finaliser of splitmix64 (Steele, Lea and Flood,
    2014, "Fast splittable pseudorandom number generators").
    """
    with np.errstate(over="ignore"):
        z = episode_seeds.astype(np.uint64) + GOLDEN * np.uint64(zlib.crc32(stream.encode()) + 1)
        z = (z ^ (z >> np.uint64(30))) * MIX1
        z = (z ^ (z >> np.uint64(27))) * MIX2
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * 2.0**-53


def stream_generator(episode_seed: int, stream: str, part: int = 0) -> np.random.Generator:
    """A new generator for the named stream of one episode.

    Args:
        part: which part of the stream, such as the number of a turn; each has random numbers of its own.
    """
    return np.random.default_rng([int(episode_seed), zlib.crc32(stream.encode()), part])


def seeds_of_rows(seed: Any, rows: int) -> list[int | None]:
    """One seed for each of `rows` rows: s + i for an int s; or those of a list, in which None lets a row go on.

    Raises:
        TypeError: something that is neither an integer nor a list of integers and None.
        ValueError: a negative seed, or a list of another length.
    """
    rule = f"expected an integer of at least 0, or a list with one (or None) for each of the {rows} rows"
    if _is_integer(seed):
        seeds: list[int | None] = [int(seed) + row for row in range(rows)]
    elif isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str | bytes):
        wrong = [entry for entry in seed if entry is not None and not _is_integer(entry)]
        if wrong:
            raise TypeError(f"seed {wrong[0]!r} is a {type(wrong[0]).__name__}: {rule}")
        seeds = [None if entry is None else int(entry) for entry in seed]
    else:
        raise TypeError(f"seed={seed!r} is a {type(seed).__name__}: {rule}")
    if len(seeds) != rows:
        raise ValueError(f"{len(seeds)} seeds for {rows} rows: {rule}")
    negative = [entry for entry in seeds if entry is not None and entry < 0]
    if negative:
        raise ValueError(f"seed {negative[0]} is negative: {rule}")
    return seeds


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


@dataclass(frozen=True)
class EpisodeSeeds:
    """The episode seeds of B rows, each row's from a generator of its own.

    Frozen, but for the generators, from which seeds are drawn a block ahead: make the object with `of`, and take the
    one that `after` gives in place of this one.
    """

    generators: tuple[np.random.Generator, ...]  # (B,)
    seeded_with: tuple[int, ...]  # (B,) what the generators were seeded with, or UNKNOWN
    block: np.ndarray  # (B, BLOCK) uint64, drawn ahead
    used: np.ndarray  # (B,) int64, how many of the row's block have been used: always fewer than BLOCK

    @staticmethod
    def of(generators: Sequence[np.random.Generator], seeded_with: Sequence[int]) -> EpisodeSeeds:
        """Seeds from these generators, one a row."""
        used = np.zeros(len(generators), dtype=np.int64)
        return EpisodeSeeds(tuple(generators), tuple(seeded_with), np.array([_block(g) for g in generators]), used)

    @staticmethod
    def fresh(seeds: Sequence[int | None]) -> EpisodeSeeds:
        """Seeds from new generators with these seeds (B,); None is one from the operating system."""
        return EpisodeSeeds.of(*zip(*(np_random(seed) for seed in seeds), strict=True))

    def next(self, rows: np.ndarray) -> np.ndarray:
        """(R,) uint64: the next episode's seed of each of the rows (R,)."""
        return self.block[rows, self.used[rows]]

    def after(self, rows: np.ndarray) -> EpisodeSeeds:
        """Those that follow when `next(rows)` have been used, each row named at most once.

        Call it once nothing can fail any more: what it draws from the generators cannot be put back.
        """
        block, used = self.block, self.used.copy()
        used[rows] += 1
        spent = rows[used[rows] == BLOCK]
        if len(spent):
            block, used[spent] = block.copy(), 0
            block[spent] = [_block(self.generators[row]) for row in spent]
        return replace(self, block=block, used=used)

    def skipped(self, counts: np.ndarray) -> tuple[EpisodeSeeds, np.ndarray]:
        """Those that follow when each row has used `counts` (B,) of its seeds; and (B,) uint64, the last one used.

        The last one means nothing where the count is 0.
        """
        block, used, last = self.block.copy(), self.used + counts, np.zeros(len(counts), dtype=np.uint64)
        for row in np.flatnonzero(used >= BLOCK).tolist():
            while used[row] >= BLOCK:
                last[row], block[row] = block[row, -1], _block(self.generators[row])
                used[row] -= BLOCK
        within = np.flatnonzero(used > 0)
        last[within] = block[within, used[within] - 1]
        return replace(self, block=block, used=used), last

    def put(self, rows: Sequence[int], others: EpisodeSeeds) -> EpisodeSeeds:
        """These, with rows (R,) replaced by the R rows of others."""
        generators, seeded_with = list(self.generators), list(self.seeded_with)
        block, used = self.block.copy(), self.used.copy()
        for i, row in enumerate(rows):
            generators[row], seeded_with[row] = others.generators[i], others.seeded_with[i]
            block[row], used[row] = others.block[i], others.used[i]
        return EpisodeSeeds(tuple(generators), tuple(seeded_with), block, used)

    def take(self, rows: Sequence[int]) -> EpisodeSeeds:
        """Copies of rows (R,), generator states included: they will draw what the originals will draw."""
        return EpisodeSeeds(
            tuple(copy.deepcopy(self.generators[row]) for row in rows),
            tuple(self.seeded_with[row] for row in rows),
            self.block[list(rows)],
            self.used[list(rows)],
        )


def _block(generator: np.random.Generator) -> np.ndarray:
    return generator.integers(2**63, size=BLOCK, dtype=np.uint64)
