"""Synthesisers by name, and espeak-ng where it is installed; elsewhere what its absence says."""

import shutil

import numpy as np
import pytest

from dyngen_env.users.speech.recordings import Recordings
from dyngen_env.users.speech.synthesiser import Espeak, make_synthesiser
from dyngen_env.users.speech.voices import Speaker

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt install espeak-ng")


def test_names():
    assert isinstance(make_synthesiser("recordings"), Recordings)
    with pytest.raises(ValueError, match="speaks='sox': expected 'recordings', 'espeak'"):
        make_synthesiser("sox")


def test_without_the_program_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="apt install espeak-ng"):
        make_synthesiser("espeak")


@needs_espeak
def test_espeak_speaks_any_text_slower_and_faster():
    slow, fast = (Espeak().speak("--hello; anybody there?", Speaker("en-us+f3", speed)) for speed in (0.8, 1.3))
    assert 1.4 < len(slow) / len(fast) < 1.8 and slow.dtype == np.float32
    assert np.sqrt((slow**2).mean()) == pytest.approx(0.08, rel=0.05)
    with pytest.raises(ValueError, match="did not speak 'hello' as 'nobody'"):
        Espeak().speak("hello", Speaker("nobody"))
