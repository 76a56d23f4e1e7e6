"""Random streams: each row's generator draws one seed per episode, and every use of chance is a stream named under it.

Seeds are taken from the generator in blocks, because a 64-bit draw by itself costs more than a whole env step per row.
Streams are independent by construction: changing what the user draws never changes which prompt is played.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence

import numpy as np

BLOCK = 64
_MIX1, _MIX2, _GOLDEN = (
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
    np.uint64(0x9E3779B97F4A7C15),
)


def stream_uniform(episode_seeds: np.ndarray, stream: str) -> np.ndarray:
    """(R,) float64 in [0, 1): one uniform per episode of the named stream.

    The finaliser of splitmix64 (Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number generators").
    """
    with np.errstate(over="ignore"):
        z = episode_seeds.astype(np.uint64) + _GOLDEN * np.uint64(zlib.crc32(stream.encode()) + 1)
        z = (z ^ (z >> np.uint64(30))) * _MIX1
        z = (z ^ (z >> np.uint64(27))) * _MIX2
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * 2.0**-53


def stream_generator(episode_seed: int, stream: str, part: int = 0) -> np.random.Generator:
    """A generator of the named stream of one episode; each part of a stream (a turn, say) begins one of its own."""
    return np.random.default_rng([int(episode_seed), zlib.crc32(stream.encode()), part])


class EpisodeSeeds:
    """The episode seeds of N rows, from one generator per row."""

    def __init__(self, generators: Sequence[np.random.Generator]):
        self.generators = list(generators)
        self._block = np.zeros((len(self.generators), BLOCK), dtype=np.uint64)
        self._used = np.full(len(self.generators), BLOCK)

    def reseed(self, row: int, generator: np.random.Generator) -> None:
        """Start row `row` again from another generator; what was drawn ahead is dropped."""
        self.generators[row] = generator
        self._used[row] = BLOCK

    def next(self, rows: np.ndarray) -> np.ndarray:
        """(R,) uint64: the next episode's seed of each of the rows (R,), each named at most once."""
        for row in rows[self._used[rows] == BLOCK]:
            self._block[row] = self.generators[row].integers(2**63, size=BLOCK, dtype=np.uint64)
            self._used[row] = 0
        seeds = self._block[rows, self._used[rows]]
        self._used[rows] += 1
        return seeds

    def fork(self, rows: Sequence[int]) -> EpisodeSeeds:
        """Copies of rows, generator states included: they will draw what the originals will draw."""
        forked = EpisodeSeeds([copy.deepcopy(self.generators[row]) for row in rows])
        forked._block = self._block[list(rows)].copy()
        forked._used = self._used[list(rows)].copy()
        return forked
