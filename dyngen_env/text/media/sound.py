"""A sound: samples that an agent hears, decoded from WAV with limits."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np

from dyngen_env.text.media.medium import Medium, interned
from dyngen_env.text.media.picture import Picture, read_bytes

SAMPLING_RATE = 16000  # samples a second, the rate of speech recognition
LONGEST = 60  # seconds
MOST_BYTES = 16 * 2**20  # of a file: a minute of 32-bit stereo has half of it


class Sound(Medium):
    """A recording in one channel, 16,000 samples a second. Equal samples are one object, so `==` goes by content.

    Args:
        samples: (T,) float32 in [-1, 1], at least one and at most a minute. Copied.
        sampling_rate: samples a second; others than 16,000 are refused.

    Raises:
        ValueError: another dtype, shape, length or sampling rate, or samples outside [-1, 1].
    """

    __slots__ = ()
    kind = "sound"
    sampling_rate = SAMPLING_RATE

    def __new__(cls, samples: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> Sound:
        if sampling_rate != SAMPLING_RATE:
            raise ValueError(f"a sound has {SAMPLING_RATE} samples a second, got {sampling_rate}: resample it")
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32 or samples.ndim != 1:
            array = isinstance(samples, np.ndarray)
            found = f"{samples.dtype} of shape {samples.shape}" if array else type(samples).__name__
            raise ValueError(f"a sound is a float32 array of shape (T,), got {found}")
        if not 1 <= len(samples) <= LONGEST * SAMPLING_RATE:
            raise ValueError(
                f"a sound has at least one sample and at most {LONGEST} s, got {len(samples) / SAMPLING_RATE:g} s: "
                "cut it"
            )
        if not np.abs(samples).max() <= 1:  # False of NaN, too
            raise ValueError("a sound has samples from -1 to 1, got others: scale them")
        return interned(cls, samples)  # type: ignore[return-value]

    @property
    def samples(self) -> np.ndarray:
        """(T,) float32, read-only."""
        return self._array

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self._array) / SAMPLING_RATE

    def __repr__(self) -> str:
        return f"Sound({self.seconds:.2f} s)"

    @staticmethod
    def from_file(source: str | Path | bytes) -> Sound:
        """Read a WAV file of 8, 16, 24 or 32-bit samples; several channels become their mean.

        Args:
            source: a path, or the file's content.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no such file, a damaged one, one of another sampling rate, or too long.
        """
        name = "the sound" if isinstance(source, bytes) else f"sound {str(source)!r}"
        data = read_bytes(source, name, MOST_BYTES)
        try:
            with wave.open(io.BytesIO(data)) as file:
                channels, width, rate, count, *_ = file.getparams()
                frames = file.readframes(min(count, LONGEST * SAMPLING_RATE + 1))
        except Exception as error:  # a decoder of files from anywhere may raise anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise ValueError(f"{name} is no WAV file of PCM samples, or a damaged one ({reason})") from error
        if rate != SAMPLING_RATE:
            raise ValueError(f"{name} has {rate} samples a second: expected {SAMPLING_RATE}, so resample it")
        whole = len(frames) // (channels * width)
        samples = _pcm(frames[: whole * channels * width], width).reshape(whole, channels).mean(1, dtype=np.float32)
        try:
            return Sound(samples)
        except ValueError as error:
            raise ValueError(f"{name} cannot be used: {error}") from error


def medium_of(array: np.ndarray) -> Medium:
    """The picture or the sound that has this `Medium.array`. Raises ValueError if neither has such arrays."""
    return Sound(array) if array.ndim == 1 else Picture(array)


def _pcm(frames: bytes, width: int) -> np.ndarray:
    """Samples in [-1, 1) of PCM data: unsigned bytes, or signed little-endian integers of 2 to 4 bytes."""
    if width == 1:
        return (np.frombuffer(frames, np.uint8).astype(np.float32) - 128) / 128
    parts = np.frombuffer(frames, np.uint8).reshape(-1, width)
    wide = np.zeros((len(parts), 4), np.uint8)
    wide[:, 4 - width :] = parts  # the high bytes of a 32-bit integer: the sign comes along
    return (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
