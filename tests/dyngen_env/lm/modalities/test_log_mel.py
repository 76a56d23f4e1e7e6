"""Log-mel spectrograms, against the feature extractor of transformers."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from dyngen_env.lm.modalities.log_mel import log_mel


def chirp(seconds, seed=0):
    """A tone that rises from 200 to 5,000 Hz, in a little noise."""
    time = np.arange(int(16000 * seconds)) / 16000
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * (200 * time + 2400 * time**2 / seconds)) + 0.01 * noise).astype(np.float32)


@pytest.mark.parametrize("bins", [80, 128])
def test_they_are_whisper_s(bins):
    sound = chirp(1.0)
    extractor = WhisperFeatureExtractor(feature_size=bins)
    expected = extractor(sound, sampling_rate=16000, return_tensors="np").input_features[0].T[:98]
    assert np.allclose(log_mel(torch.from_numpy(sound), bins)[:98].numpy(), expected, atol=1e-4)


def test_a_batch_is_its_rows():
    sounds = torch.from_numpy(np.stack([chirp(0.5, seed) for seed in range(3)]))
    together = log_mel(sounds.reshape(3, 1, -1))
    assert together.shape == (3, 1, 50, 40)
    assert torch.allclose(together[2, 0], log_mel(sounds[2]), atol=1e-6)


@pytest.mark.parametrize("samples", [1, 200, 319, 320])
def test_short_sounds_have_two_frames(samples):
    assert log_mel(torch.full((samples,), 0.1)).isfinite().all()
    assert log_mel(torch.full((samples,), 0.1)).shape == (2, 40)
