"""Sounds resampled, levelled and in noise, against tones whose properties are known."""

import numpy as np
import pytest

from dyngen_env.users.speech.waves import LEVEL, levelled, resampled, with_noise


def tone(hertz, seconds=1.0, rate=16000):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def test_a_tone_resampled_is_the_tone_at_the_other_rate():
    assert np.allclose(resampled(tone(1000), 1.5), tone(1000, rate=24000), atol=1e-6)
    assert np.allclose(resampled(tone(1000, rate=22050), 16000 / 22050), tone(1000), atol=1e-6)


def test_what_lies_above_half_the_new_rate_is_cut_off():
    assert np.allclose(resampled(tone(500) + tone(5000), 0.5), tone(500, rate=8000), atol=1e-6)


def test_a_levelled_sound_has_its_silence_cut_off():
    sound = np.concatenate([np.zeros(5000), tone(400), np.full(3000, 0.001)])
    cut = levelled(sound)
    assert 16000 <= len(cut) <= 16000 + 2 * 320  # 20 ms on both sides
    assert np.sqrt((cut**2).mean()) == pytest.approx(LEVEL, rel=1e-3) and cut.dtype == np.float32
    assert levelled(np.zeros(7)).tolist() == [0] * 7


@pytest.mark.parametrize("snr", [20.0, 0.0, -3.0])
def test_noise_is_so_many_decibels_below_the_sound(snr):
    sound = tone(400).astype(np.float32) / 5
    noise = with_noise(sound, snr, np.random.default_rng(0)) - sound
    assert 10 * np.log10((sound**2).mean() / (noise**2).mean()) == pytest.approx(snr, abs=0.2)


def test_there_need_be_no_noise():
    sound = tone(400).astype(np.float32)
    assert np.array_equal(with_noise(sound, np.inf, np.random.default_rng(0)), sound)
    assert with_noise(np.zeros(0, np.float32), 10, np.random.default_rng(0)).size == 0
