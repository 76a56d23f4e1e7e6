"""Recognisers: what they make of recordings, of silence, and of files that are none; Whisper with a stand-in for it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dyngen_env import Sound
from dyngen_env.users.speech import persona_sayings, whisper
from dyngen_env.users.speech.persona_sayings import PersonaSayings, classifier
from dyngen_env.users.speech.recogniser import make_recogniser
from dyngen_env.users.speech.recordings import Recordings
from dyngen_env.users.speech.voices import EVAL, Speaker

SILENCE = Sound(np.zeros(16000, np.float32))


@pytest.fixture(scope="module")
def ours():
    return make_recogniser("persona_sayings")


class TestPersonaSayings:
    def test_it_knows_what_is_recorded(self, ours):
        assert ours.sayings == Recordings().texts

    @pytest.mark.parametrize("voice", EVAL[::2])
    def test_it_understands_most_of_what_unheard_voices_say(self, ours, voice):
        recordings = Recordings()
        texts = recordings.texts[::9]
        heard = [ours.transcribe(Sound(recordings.speak(text, Speaker(voice)))) for text in texts]
        assert sum(text == words for text, words in zip(texts, heard, strict=True)) >= 0.6 * len(texts)

    def test_it_hears_two_sayings_with_a_pause_between(self, ours):
        said = "once more, please: tell me about the cast."
        assert ours.transcribe(Sound(Recordings().speak(said, Speaker(EVAL[0])))) == said

    def test_it_hears_nothing_in_silence(self, ours):
        assert ours.transcribe(SILENCE) == ""

    def test_loudness_does_not_matter(self, ours):
        sound = Recordings().speak("tell me about the cast.", Speaker(EVAL[0]))
        assert ours.transcribe(Sound(sound / 50)) == ours.transcribe(Sound(sound)) != ""

    def test_a_saved_network_is_read_again(self, tmp_path):
        network = classifier(2).half().float()
        persona_sayings.save(tmp_path / "two.safetensors", ["a", "b!"], network)
        read = PersonaSayings(tmp_path / "two.safetensors")
        assert read.sayings == ["a", "b!"]
        assert all(torch.equal(a, b) for a, b in zip(read.network.parameters(), network.parameters(), strict=True))

    @pytest.mark.parametrize("content", [b"", b"no network", b"\x08\0\0\0\0\0\0\0{}      "])
    def test_other_files_are_told_in_one_line(self, tmp_path, content):
        (tmp_path / "none").write_bytes(content)
        with pytest.raises(ValueError, match="is no recogniser of sayings, or a damaged one"):
            PersonaSayings(tmp_path / "none")
        with pytest.raises(FileNotFoundError, match="make_persona_sayings"):
            PersonaSayings(tmp_path / "other")


class TestWhisper:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        """A folder that looks like a model, and a stand-in for faster-whisper, which tells what it was given."""

        class WhisperModel:
            def __init__(self, folder, **options):
                assert options["local_files_only"] and options["device"] == "cpu"

            def transcribe(self, samples, language, **options):
                parts = [SimpleNamespace(text=f" {language}"), SimpleNamespace(text=f" {len(samples)} ")]
                return iter(parts), None

        (tmp_path / "model.bin").write_bytes(b"")
        monkeypatch.setitem(sys.modules, "faster_whisper", SimpleNamespace(WhisperModel=WhisperModel))
        whisper._model.cache_clear()
        yield tmp_path
        whisper._model.cache_clear()

    def test_its_segments_are_joined(self, folder):
        assert make_recogniser(str(folder)).transcribe(Sound(np.full(1600, 0.1, np.float32))) == "en 1600"

    def test_it_is_not_asked_about_silence(self, folder):
        assert make_recogniser(str(folder)).transcribe(SILENCE) == ""

    def test_without_the_package_it_says_what_to_install(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "faster_whisper", None)
        with pytest.raises(ImportError, match=r"pip install 'dyngen-env\[speech\]'"):
            make_recogniser(str(folder))

    def test_other_folders_and_names_are_told(self, tmp_path):
        with pytest.raises(ValueError, match=r"has no model\.bin"):
            make_recogniser(str(tmp_path))
        with pytest.raises(ValueError, match="expected 'persona_sayings', or a folder"):
            make_recogniser("whisper")
        with pytest.raises(ValueError, match="recogniser='': expected 'persona_sayings', or a folder"):
            make_recogniser("")
