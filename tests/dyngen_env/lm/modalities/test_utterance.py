"""Features of utterances: what they do not depend on, and a bump whose place is known."""

import pytest
import torch

from dyngen_env.lm.modalities.utterance import BINS, FEATURES, STEPS, loud_frames, speech_ends, utterance_features


def babble(seconds, seed=0):
    """Noise whose loudness comes and goes."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(int(seconds * 16000)) / 16000
    return 0.1 * torch.randn(len(time), generator=generator) * (1.2 + torch.sin(2 * torch.pi * 3 * time))


def test_neither_loudness_nor_silence_around_it_matters():
    sound = babble(1.0)
    features = utterance_features(sound)
    assert features.shape == (FEATURES,) and features.isfinite().all()
    assert torch.allclose(utterance_features(sound * 0.1), features, atol=1e-3)
    later = utterance_features(torch.cat([torch.zeros(8000), sound, torch.zeros(4800)]))
    assert torch.corrcoef(torch.stack([later[:-1], features[:-1]]))[0, 1] > 0.95


def test_frames_are_loud_from_where_the_noise_begins():
    spectrogram = torch.zeros(60, BINS)
    spectrogram[20:40], spectrogram[28:32] = 1.0, 1.1  # 0.4 of the loudest mean is 0.43
    assert loud_frames(spectrogram).nonzero()[:, 0].tolist() == [*range(20, 40)]  # 3 of 5 frames around are loud
    assert speech_ends(spectrogram) == (20, 40)


def test_the_last_feature_is_the_duration():
    assert float(utterance_features(babble(2.0))[-1].exp()) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("samples", [1, 100, 5000])
def test_short_and_silent_sounds_have_features(samples):
    for sound in (torch.zeros(samples), babble(1.0)[:samples]):
        assert utterance_features(sound).isfinite().all()
    assert STEPS * BINS + 1 == FEATURES
