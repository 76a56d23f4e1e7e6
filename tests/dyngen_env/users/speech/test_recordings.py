"""The recordings: what ships, what is said with them, and files that are none."""

import numpy as np
import pytest

from dyngen_agents.pretraining.make_recordings import sayings
from dyngen_env.users.personas import read_population
from dyngen_env.users.speech.recordings import PATH, Recordings, save
from dyngen_env.users.speech.voices import EVAL, TRAIN, Speaker, draw_speaker, voices_named

A, B = ((0.05 * np.hanning(n) * np.sin(np.arange(n) * 0.3)).astype(np.float32) for n in (3000, 5000))


@pytest.fixture
def small(tmp_path):
    save(tmp_path / "small.npz", {"v": {"a b.": A, "b": B}, "w": {"a b.": B, "b": A}}, 0.005)
    return tmp_path / "small.npz"


class TestWhatShips:
    def test_every_voice_has_said_whatever_the_persons_say(self):
        recordings = Recordings()
        assert recordings.texts == sayings(read_population("en"))
        assert recordings.voices == [*TRAIN, *EVAL]

    def test_it_takes_less_than_three_megabytes(self):
        assert sum(path.stat().st_size for path in PATH.parent.iterdir()) < 3_000_000

    @pytest.mark.parametrize("voice", [TRAIN[0], EVAL[-1]])
    def test_a_saying_lasts_as_long_as_words_do(self, voice):
        sound = Recordings().speak("can you say it in a few words?", Speaker(voice))
        assert 1.0 < len(sound) / 16000 < 4.0 and 0.04 < np.sqrt((sound**2).mean()) < 0.12

    def test_no_accent_and_no_variant_is_in_both_sets(self):
        parts = [{part for voice in voices for part in voice.split("+")} for voices in (TRAIN, EVAL)]
        assert not parts[0] & parts[1]


def test_a_saying_is_restored(small):
    assert np.allclose(Recordings(small).speak("a b.", Speaker("w")), B, atol=3e-3)


def test_several_sayings_have_a_pause_between_them(small):
    said = Recordings(small).speak("b a b. b", Speaker("v"))
    assert len(said) == 5000 + 4000 + 3000 + 4000 + 5000
    assert np.allclose(said[9000:12000], A, atol=3e-3) and np.abs(said[5100:8900]).max() < 1e-3


def test_who_speaks_faster_is_done_earlier(small):
    assert len(Recordings(small).speak("b", Speaker("v", speed=1.25, pitch=0.5))) == 4000


@pytest.mark.parametrize("text, rest", [("b c", "'c'"), ("", "''"), ("a", "'a'")])
def test_other_words_are_refused(small, text, rest):
    with pytest.raises(ValueError, match=f"no recording of {rest}, only of the 2 sayings .*espeak"):
        Recordings(small).speak(text, Speaker("v"))
    with pytest.raises(ValueError, match="no recording of the voice 'x': expected one of v, w"):
        Recordings(small).speak("b", Speaker("x"))


def test_200_broken_files_are_told_in_one_line(small, tmp_path):
    whole, rng, path = small.read_bytes(), np.random.default_rng(0), tmp_path / "broken.npz"
    for _ in range(200):
        data = np.frombuffer(whole, np.uint8).copy()
        where = rng.integers(len(data), size=rng.integers(1, 9))
        data[where] = rng.integers(256, size=len(where))
        path.write_bytes(data.tobytes()[: rng.integers(len(data) + 1)] if rng.random() < 0.3 else data.tobytes())
        try:
            Recordings(path).speak("b", Speaker("v"))
        except ValueError as error:
            assert "\n" not in str(error)
    with pytest.raises(FileNotFoundError, match=r"no file of recordings .*make_recordings"):
        Recordings(tmp_path / "none.npz")


def test_voices_are_drawn_from_a_set_or_a_list():
    rng = np.random.default_rng(0)
    drawn = [draw_speaker(voices_named("eval"), rng) for _ in range(60)]
    assert {speaker.voice for speaker in drawn} == set(EVAL)
    assert all(0.9 <= factor <= 1.1 for s in drawn for factor in (s.speed, s.pitch))
    assert len({speaker.speed for speaker in drawn}) == 60
    assert voices_named(["mine"]) == ("mine",)
    for wrong in ("all", []):
        with pytest.raises(ValueError, match=r"voices=.*expected"):
            voices_named(wrong)
