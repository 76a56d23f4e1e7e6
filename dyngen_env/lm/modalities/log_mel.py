"""The log-mel spectrogram of sound, as Whisper computes it."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from dyngen_env.text.media.sound import SAMPLING_RATE

WINDOW, HOP = 400, 160  # samples: 25 ms, every 10 ms
FLOOR = 1e-10  # of the power, before the logarithm
RANGE = 8.0  # powers of ten below the loudest bin that are told apart


def log_mel(samples: Tensor, bins: int = 40) -> Tensor:
    """How loud each band of frequencies is, every 10 ms: (..., T // 160, bins) float32, about -1 to 1.

    With power spectra P[t, f] of windows of 25 ms (Hann) and the mel filters W[f, b],

        x[t, b] = log₁₀ max(Σ_f W[f, b] P[t, f], 10⁻¹⁰),    y = (max(x, max x - 8) + 4) / 4

    where max x is the loudest bin of the sound. Radford et al. 2022 ("Robust Speech Recognition via Large-Scale Weak
    Supervision", sec. 2.2); equal to `WhisperFeatureExtractor` of transformers, but for the sound's last window, which
    it pads with silence and this one with the sound's mirror image.

    Args:
        samples: (..., T) float32 in [-1, 1], at 16 kHz. Sounds of less than 20 ms are prolonged by silence.
        bins: how many bands there are from 0 to 8 kHz; Whisper has 80 or 128.
    """
    if samples.shape[-1] < 2 * HOP:
        samples = torch.nn.functional.pad(samples, (0, 2 * HOP - samples.shape[-1]))
    flat = samples.reshape(-1, samples.shape[-1])
    window = torch.hann_window(WINDOW, device=samples.device)
    spectrum = torch.stft(flat, WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum[..., : samples.shape[-1] // HOP].abs() ** 2  # (N, 201, frames)
    log = (_filters(bins).to(samples.device) @ power).clamp_min(FLOOR).log10()  # (N, bins, frames)
    loud = torch.maximum(log, log.amax((-2, -1), keepdim=True) - RANGE)
    return ((loud + 4) / 4).transpose(-2, -1).reshape(*samples.shape[:-1], -1, bins)


@lru_cache(maxsize=4)
def _filters(bins: int) -> Tensor:
    """(bins, 201): triangles whose corners lie at equal distances on Slaney's mel scale, each of area 1 over Hz."""
    corners = _hertz(torch.linspace(0, _mel(SAMPLING_RATE / 2), bins + 2, dtype=torch.float64))
    frequencies = torch.linspace(0, SAMPLING_RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
    low, middle, high = (corners[i : i + bins, None] for i in range(3))
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return (torch.minimum(rising, falling).clamp_min(0) * 2 / (high - low)).float()


def _mel(hertz: float) -> float:
    """Slaney's scale: linear to 1 kHz, which is 15, and logarithmic above."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + math.log(hertz / 1000) * 27 / math.log(6.4)


def _hertz(mel: Tensor) -> Tensor:
    """The inverse of `_mel`."""
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27))
