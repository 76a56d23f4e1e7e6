"""The codec of the recordings, against the transform's definition."""

import lzma
import math

import numpy as np
import pytest

from dyngen_env.users.speech.codec import BANDS, N, packed, quantised, restored, unpacked


def test_coefficients_are_the_sums_of_the_definition():
    sound = np.random.default_rng(0).standard_normal(3 * N) * 0.1
    frame = 1  # of the samples from 0 to 2N - 1
    for k in (0, 7, BANDS - 1):
        x = math.sqrt(2 / N) * sum(
            sound[n] * math.sin(math.pi * (n + 0.5) / (2 * N)) * math.cos(math.pi / N * (n + 0.5 + N / 2) * (k + 0.5))
            for n in range(2 * N)
        )
        expected = round(math.copysign(abs(x / 0.02) ** 0.75, x))
        assert quantised(sound, 0.02)[frame, k] == expected != 0


@pytest.mark.parametrize("length", [2, N, 5 * N + 17])
def test_what_was_quantised_finely_is_restored(length):
    sound = 0.02 * np.hanning(length) * np.sin(2 * np.pi * 900 * np.arange(length) / 16000)
    assert np.allclose(restored(quantised(sound, 0.002), 0.002, length), sound, atol=1e-3)


def test_packed_coefficients_are_unpacked_and_small():
    frames = np.random.default_rng(0).integers(-127, 128, size=(50, BANDS)).astype(np.int8)
    assert np.array_equal(unpacked(packed(frames)), frames)
    assert len(packed(np.zeros((500, BANDS), np.int8))) < 200
    with pytest.raises(lzma.LZMAError):
        unpacked(b"no such bytes")
