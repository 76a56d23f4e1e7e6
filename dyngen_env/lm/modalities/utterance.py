"""A short utterance as features of a fixed size, whatever its length, loudness and microphone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dyngen_env.lm.modalities.log_mel import log_mel

BINS, STEPS = 24, 32  # bands of frequency, and parts of the time from the first sound to the last
FEATURES = BINS * STEPS + 1
RANGE = 1.0  # of a log-mel spectrogram, below its loudest: 40 dB; quieter noise is as good as none
QUIET = 0.4  # of the way from the quietest frame to the loudest: below it nobody speaks
SMOOTH = 5  # frames over which loudness is averaged before it is compared


def utterance_features(samples: Tensor) -> Tensor:
    """(FEATURES,) float32 of one sound (T,), at 16 kHz: its log-mel spectrogram between the first and the last frame in
    which somebody speaks, less the mean of each band, over the deviation of all; averaged over STEPS equal parts of the
    time; and behind it the logarithm of how many seconds that is.

    Subtracting the mean of a band takes away what a microphone or a room does to it (Atal 1974).
    """
    spectrogram = log_mel(samples, BINS)  # (F, BINS)
    spectrogram = spectrogram.clamp_min(float(spectrogram.max()) - RANGE)
    first, last = speech_ends(spectrogram)
    spoken = spectrogram[first:last]
    centred = spoken - spoken.mean(0)
    scaled = centred / centred.std(correction=0).clamp_min(1e-3)
    parts = nn.functional.adaptive_avg_pool1d(scaled.T[None], STEPS)[0]  # (BINS, STEPS)
    return torch.cat([parts.flatten(), torch.tensor([(last - first) / 100.0]).log()])


def speech_ends(spectrogram: Tensor) -> tuple[int, int]:
    """The first frame (F, BINS) in which somebody speaks, and the one behind the last."""
    heard = loud_frames(spectrogram).nonzero()
    return (int(heard[0]), int(heard[-1]) + 1) if len(heard) else (0, len(spectrogram))


def loud_frames(spectrogram: Tensor) -> Tensor:
    """(F,) bool: frames (F, BINS) whose loudness is above QUIET of the way from the quietest to the loudest."""
    loudness = nn.functional.avg_pool1d(
        spectrogram.mean(1)[None, None], SMOOTH, 1, SMOOTH // 2, count_include_pad=False
    )[0, 0]
    return loudness >= torch.lerp(loudness.min(), loudness.max(), QUIET)
