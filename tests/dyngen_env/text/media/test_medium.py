"""Pictures and sounds: frozen, equal by content, and one clear error for each bad input."""

import copy
import io
import pickle
import wave

import numpy as np
import pytest
from PIL import Image

from dyngen_env.text.media import Picture, Sound
from dyngen_env.types import Example, Feedback

RED = np.full((4, 6, 3), (255, 0, 0), np.uint8)
TONE = np.sin(np.arange(1600) / 5).astype(np.float32)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def wav(samples: np.ndarray, rate: int = 16000, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(samples.dtype.itemsize)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def test_equal_content_is_one_medium():
    assert Picture(RED) == Picture(RED.copy()) and hash(Picture(RED)) == hash(Picture(RED.copy()))
    assert Picture(RED) != Picture(RED.reshape(6, 4, 3)) and Picture(RED) != Picture(RED // 2)
    assert Sound(TONE) == Sound(TONE.copy()) != Sound(-TONE)


def test_media_are_frozen():
    before = RED.copy()
    picture = Picture(before)
    before[:] = 0
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0] = 0
    with pytest.raises(AttributeError, match="frozen"):
        picture.number = 3


def test_media_survive_copies_and_pickles():
    example = Example("look", media=(Picture(RED), Sound(TONE)))
    assert copy.deepcopy(example) == pickle.loads(pickle.dumps(example)) == example


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Picture(RED.astype(np.float32)), "uint8 array of shape .* got float32"),
        (lambda: Picture(RED[..., 0]), r"got shape \(4, 6\)"),
        (lambda: Picture(np.zeros((2000, 8, 3), np.uint8)), "sides of 1 to 1024 pixels, got 2000x8"),
        (lambda: Picture("red.png"), "got str"),
        (lambda: Picture.from_file(b"no picture"), "no PNG or JPEG file"),
        (lambda: Picture.from_file(png(RED)[:40]), "no PNG or JPEG file, or a damaged one"),
        (lambda: Picture.from_file(png(np.zeros((5000, 5000), np.uint8))), "5000 x 5000 pixels"),
        (lambda: Picture.from_file(bytes(2**24 + 1)), "has 16777217 bytes"),
        (lambda: Sound(TONE, 8000), "16000 samples a second, got 8000"),
        (lambda: Sound(np.zeros(600 * 16000, np.float32)), "at most 60 s, got 600 s"),
        (lambda: Sound(TONE * 2), "from -1 to 1"),
        (lambda: Sound(TONE * np.nan), "from -1 to 1"),
        (lambda: Sound(TONE.astype(np.float64)), "got float64"),
        (lambda: Sound.from_file(b"RIFF----WAVE"), "no WAV file"),
        (lambda: Sound.from_file(wav(np.zeros(9, np.int16), rate=44100)), "has 44100 samples a second"),
        (lambda: Sound.from_file(wav(np.zeros(61 * 16000, np.int16))), "at most 60 s"),
        (lambda: Sound.from_file(wav(np.zeros(0, np.int16))), "at least one sample"),
        (lambda: Example("look", media=[Picture(RED)]), "expected a tuple"),
        (lambda: Feedback(media=("red",)), "expected a tuple"),
        (lambda: Example("look", media=(RED,)), r"^media=\(array\(.{1,40}\): expected a tuple"),
        (lambda: Example("look", media=None), "media=None: expected a tuple"),
        (lambda: Feedback(media=[]), r"media=\[\]: expected a tuple"),
        *(
            (lambda size=size: Picture.from_file(b"", size=size), r"size=.*: expected \(H, W\), two integers")
            for size in ((12000, 12000), (0, 0), (3,), "ab", 32, (2.5, 2))
        ),
    ],
)
def test_each_bad_input_is_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_missing_files_are_told(tmp_path):
    for kind in (Picture, Sound):
        with pytest.raises(FileNotFoundError, match=r"none\.bin"):
            kind.from_file(tmp_path / "none.bin")


def test_a_picture_is_read_from_a_file_with_white_behind_it(tmp_path):
    half = np.dstack([RED, np.full((4, 6), 51, np.uint8)])  # an opacity of 0.2
    (tmp_path / "half.png").write_bytes(png(half))
    picture = Picture.from_file(tmp_path / "half.png", size=(2, 3))
    assert picture.size == (2, 3)
    assert picture.pixels[1, 1].tolist() == [255, 204, 204]  # 0.2 * 0 + 0.8 * 255


def test_greys_of_16_bits_are_scaled_to_8():
    grey = np.array([[0, 257, 40_000, 65_535]], np.uint16)
    picture = Picture.from_file(png(grey))
    assert picture.pixels[0].tolist() == [[value] * 3 for value in (0, 1, 156, 255)]  # 40000 / 257 = 155.6


@pytest.mark.parametrize(
    "stored", [np.array([0, 64, 255], np.uint8), np.array([-(2**15), -(2**14), 32512], np.int16),
               np.array([-(2**31), -(2**30), 2130706432], np.int32)],
)  # fmt: skip
def test_samples_of_every_width_are_read(stored):
    assert np.allclose(Sound.from_file(wav(stored)).samples, [-1, -0.5, 0.9921875])


def test_channels_become_their_mean():
    assert Sound.from_file(wav(np.array([16384, 0, -16384, -16384], np.int16), channels=2)).samples.tolist() == [
        0.25,
        -0.5,
    ]


@pytest.mark.parametrize(
    "kind, whole",
    [
        (Picture, png(np.arange(3072, dtype=np.uint16).astype(np.uint8).reshape(32, 32, 3))),
        (Sound, wav((TONE * 9999).astype(np.int16))),
    ],
)
def test_500_broken_files_crash_nothing(kind, whole):
    rng = np.random.default_rng(0)
    for _ in range(500):
        data = np.frombuffer(whole, np.uint8).copy()
        where = rng.integers(len(data) if rng.random() < 0.5 else min(len(data), 64), size=rng.integers(1, 9))
        data[where] = rng.integers(256, size=len(where))
        broken = data.tobytes()[: rng.integers(len(data) + 1)] if rng.random() < 0.3 else data.tobytes()
        try:
            kind.from_file(broken)
        except ValueError as error:
            assert "\n" not in str(error)
