"""Recordings of what the simulated persons say, which ship with the package: nothing need be installed to hear them."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np

import dyngen_env.assets
from dyngen_env.text.media.sound import SAMPLING_RATE
from dyngen_env.text.saved_arrays import saved_arrays
from dyngen_env.users.speech.codec import N, packed, quantised, restored, unpacked
from dyngen_env.users.speech.voices import Speaker
from dyngen_env.users.speech.waves import resampled

PATH = Path(dyngen_env.assets.__file__).with_name("speech") / "recordings.npz"
PAUSE = 0.25  # seconds between two sayings
REMEDY = "make one by `python -m dyngen_agents.pretraining.make_recordings`"
ARRAYS = ("texts", "voices", "samples", "step", "sizes", "data")


class Recordings:
    """Sayings that voices have been recorded with. A text is a saying, or several with a space between them.

    Speed and pitch of a speaker change together, like those of a tape: only `Speaker.speed` counts.

    Args:
        file: a file that `save` has written.

    Raises:
        FileNotFoundError: no such file. ValueError: it is none of these, or damaged.
    """

    def __init__(self, file: str | Path = PATH):
        arrays = saved_arrays(file, ARRAYS, "file of recordings", REMEDY)
        self.file, self.step = Path(file), float(arrays["step"])
        self.texts: list[str] = arrays["texts"].tolist()
        self.voices: list[str] = arrays["voices"].tolist()
        self._place = {text: i for i, text in enumerate(self.texts)}
        self._samples: list[list[int]] = arrays["samples"].tolist()  # (V, S) how long each is
        self._packed = np.split(arrays["data"], np.cumsum(arrays["sizes"])[:-1])  # of each voice
        self._frames: dict[str, list[np.ndarray]] = {}  # of each saying, by voice

    def speak(self, text: str, speaker: Speaker) -> np.ndarray:
        """See `Synthesiser`."""
        if speaker.voice not in self.voices:
            raise ValueError(f"no recording of the voice {speaker.voice!r}: expected one of {', '.join(self.voices)}")
        pause = np.zeros(int(PAUSE * SAMPLING_RATE), dtype=np.float32)
        sayings = [self._saying(speaker.voice, number) for number in self._parts(text)]
        sound = np.concatenate([piece for saying in sayings for piece in (pause, saying)][1:])
        return np.clip(resampled(sound, 1 / speaker.speed), -1, 1)

    def _parts(self, text: str) -> list[int]:
        """The sayings that a text consists of, as long ones as can be, from its left."""
        found, rest = list[int](), text.strip()
        while rest or not found:
            ends = [len(rest), *(i for i in range(len(rest) - 1, 0, -1) if rest[i] == " ")]
            end = next((end for end in ends if rest[:end] in self._place), None)
            if end is None:
                raise ValueError(
                    f"no recording of {rest[:60]!r}, only of the {len(self.texts)} sayings of the personas 'en': "
                    "speaks='espeak' says any text (apt install espeak-ng)"
                )
            found.append(self._place[rest[:end]])
            rest = rest[end:].strip()
        return found

    def _saying(self, voice: str, number: int) -> np.ndarray:
        lengths = self._samples[self.voices.index(voice)]
        if voice not in self._frames:
            self._frames[voice] = self._unpacked(self._packed[self.voices.index(voice)].tobytes(), lengths)
        return restored(self._frames[voice][number], self.step, lengths[number])

    def _unpacked(self, data: bytes, lengths: list[int]) -> list[np.ndarray]:
        counts = [-(-length // N) + 1 for length in lengths]
        try:
            frames = unpacked(data)
        except (lzma.LZMAError, ValueError) as error:
            raise ValueError(f"{self.file} is damaged ({error}): {REMEDY}") from error
        if len(frames) != sum(counts):
            raise ValueError(f"{self.file} is damaged ({len(frames)} frames, expected {sum(counts)}): {REMEDY}")
        return np.split(frames, np.cumsum(counts)[:-1])


def save(file: Path, sounds: dict[str, dict[str, np.ndarray]], step: float) -> None:
    """Write recordings, by voice and then by saying, the same sayings of each voice. `step`: see `codec.quantised`."""
    voices = list(sounds)
    texts = list(sounds[voices[0]])
    data = [packed(np.concatenate([quantised(sounds[v][t], step) for t in texts])) for v in voices]
    np.savez(
        file,
        texts=np.array(texts),
        voices=np.array(voices),
        samples=np.array([[len(sounds[v][t]) for t in texts] for v in voices], dtype=np.int32),
        step=np.float32(step),
        sizes=np.array([len(d) for d in data], dtype=np.int64),
        data=np.frombuffer(b"".join(data), dtype=np.uint8),
    )
