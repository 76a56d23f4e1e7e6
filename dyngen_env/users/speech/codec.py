"""A small codec for speech, so that recordings ship with the package: MDCT, power-law quantisation, LZMA.

The modified discrete cosine transform (Princen & Bradley 1987) of frames of 2N samples that overlap by half gives N
coefficients a frame, and with the sine window w[n] = sin(π(n + 1/2)/2N) the inverse restores the sound:

    X[k] = √(2/N) Σ_n w[n] x[n] cos(π/N (n + 1/2 + N/2)(k + 1/2)),    n = 0 ... 2N - 1, k = 0 ... N - 1

Of these the lowest BANDS are kept, each as the integer nearest to sign(X) |X/step|^(3/4): loud coefficients are
coarser, which ears forgive, as in MPEG layer 3.
"""

from __future__ import annotations

import lzma
from functools import lru_cache

import numpy as np

N = 256  # samples of a frame's step: 16 ms at 16 kHz
BANDS = 144  # coefficients that are kept: up to 4.5 kHz
POWER = 0.75
MOST = 127  # of a quantised coefficient's size

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 2**20, "lc": 4, "lp": 0, "pb": 0}]


def quantised(samples: np.ndarray, step: float) -> np.ndarray:
    """The coefficients of a sound as integers, (frames, BANDS) int8.

    Args:
        samples: (T,) float. step: the size of a coefficient that becomes 1; the larger, the shorter and the worse.
    """
    frames = -(-len(samples) // N) + 1
    padded = np.zeros((frames + 1) * N)
    padded[N : N + len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * N)[::N]
    coefficients = windows @ _basis()
    sizes = np.round(np.abs(coefficients / step) ** POWER)
    return (np.sign(coefficients) * np.minimum(sizes, MOST)).astype(np.int8)


def restored(quantised: np.ndarray, step: float, length: int) -> np.ndarray:
    """The sound of quantised coefficients, (length,) float32."""
    values = quantised.astype(np.float32)
    coefficients = np.sign(values) * np.abs(values) ** (1 / POWER) * step
    windows = coefficients @ _basis().T.astype(np.float32)  # (frames, 2N)
    padded = np.zeros((len(windows) + 1) * N, dtype=np.float32)
    padded[:-N] += windows[:, :N].reshape(-1)
    padded[N:] += windows[:, N:].reshape(-1)
    return padded[N : N + length]


def packed(frames: np.ndarray) -> bytes:
    """Quantised coefficients (frames, BANDS) as few bytes.

    LZMA predicts a byte from the upper half of the byte before. So a coefficient stands in the upper half, signs in its
    lowest bit, behind the one of the same band in the frame before.
    """
    values = frames.T.astype(np.int16)
    folded = np.where(values < 0, -2 * values - 1, 2 * values).astype(np.uint8)
    return lzma.compress(((folded << 4) | (folded >> 4)).tobytes(), lzma.FORMAT_RAW, filters=_FILTERS)


def unpacked(data: bytes) -> np.ndarray:
    """The inverse of `packed`. Raises lzma.LZMAError if the bytes are none that it gave."""
    swapped = np.frombuffer(lzma.decompress(data, lzma.FORMAT_RAW, filters=_FILTERS), dtype=np.uint8)
    folded = ((swapped << 4) | (swapped >> 4)).reshape(BANDS, -1).T.astype(np.int16)
    return np.where(folded % 2, -(folded + 1) // 2, folded // 2).astype(np.int8)


@lru_cache(maxsize=1)
def _basis() -> np.ndarray:
    """(2N, BANDS): what a coefficient adds to a frame, its window included."""
    n, k = np.arange(2 * N)[:, None], np.arange(BANDS)
    window = np.sin(np.pi * (n + 0.5) / (2 * N))
    return np.sqrt(2 / N) * window * np.cos(np.pi / N * (n + 0.5 + N / 2) * (k + 0.5))
