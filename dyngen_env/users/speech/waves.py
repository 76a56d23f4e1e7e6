"""What is done to samples of sound: another rate, another level, silence cut off, noise added. All take (T,) floats."""

from __future__ import annotations

import numpy as np

from dyngen_env.text.media.sound import SAMPLING_RATE

LEVEL = 0.08  # root mean square of a saying
QUIET = 0.02  # of the loudest sample: below it is silence
MARGIN = 0.02  # seconds of it that are kept on both sides


def resampled(samples: np.ndarray, factor: float) -> np.ndarray:
    """The sound with `factor` times as many samples, what lies above the new half rate cut off: (round(T·factor),).

    Played at the rate of before it is slower and lower by that factor, like a tape.
    """
    count = max(1, round(len(samples) * factor))
    spectrum = np.fft.rfft(samples)
    wanted = np.zeros(count // 2 + 1, dtype=complex)
    kept = min(len(spectrum), len(wanted))
    wanted[:kept] = spectrum[:kept]
    return (np.fft.irfft(wanted, count) * (count / len(samples))).astype(np.float32)


def levelled(samples: np.ndarray) -> np.ndarray:
    """The sound without the silence at its ends, with a root mean square of LEVEL. Silence stays as it is."""
    loudest = float(np.abs(samples).max(initial=0.0))
    if loudest == 0:
        return samples
    (heard,) = np.nonzero(np.abs(samples) > QUIET * loudest)
    margin = int(MARGIN * SAMPLING_RATE)
    cut = samples[max(0, heard[0] - margin) : heard[-1] + 1 + margin]
    return np.clip(cut * (LEVEL / np.sqrt((cut**2).mean())), -1, 1).astype(np.float32)


def with_noise(samples: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """The sound with white noise whose power is `snr` decibels below its own; infinity adds none."""
    power = float((samples**2).mean()) * 10 ** (-snr / 10) if len(samples) else 0.0
    if power == 0:
        return samples
    noise = rng.standard_normal(len(samples), dtype=np.float32)
    return np.clip(samples + power**0.5 * noise, -1, 1).astype(np.float32)
