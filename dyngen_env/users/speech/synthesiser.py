"""Who turns words into sound: the protocol, espeak-ng, and the choice by name."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from typing import Protocol

import numpy as np

from dyngen_env.text.media.sound import SAMPLING_RATE
from dyngen_env.users.speech.recordings import Recordings
from dyngen_env.users.speech.voices import Speaker
from dyngen_env.users.speech.waves import levelled, resampled

WORDS_A_MINUTE, PITCH = 175, 50  # espeak-ng's own
PATIENCE = 30.0  # seconds that a saying may take


class Synthesiser(Protocol):
    """Speaks."""

    def speak(self, text: str, speaker: Speaker) -> np.ndarray:
        """The sound of a text: (T,) float32 in [-1, 1] at 16 kHz, without silence at its ends, always the same.

        Raises:
            ValueError: a text or a voice that it does not have.
        """


class Espeak:
    """The program espeak-ng, which speaks any text in many languages and voices.

    A voice is a name that it knows, such as "en-us", with the variant after a plus: "en-gb+f3".

    Raises:
        FileNotFoundError: the program is not installed.
    """

    def __init__(self) -> None:
        program = shutil.which("espeak-ng")
        if program is None:
            raise FileNotFoundError(
                "there is no program espeak-ng: install it (apt install espeak-ng), or use the recordings"
            )
        self.program = program

    def speak(self, text: str, speaker: Speaker) -> np.ndarray:
        """See `Synthesiser`."""
        speed, pitch = round(WORDS_A_MINUTE * speaker.speed), min(99, max(0, round(PITCH * speaker.pitch)))
        return _spoken(self.program, text, speaker.voice, speed, pitch)


@lru_cache(maxsize=64)
def _spoken(program: str, text: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    command = [program, "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdin", "--stdout"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=PATIENCE)
    if done.returncode or len(done.stdout) < 44:
        why = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        raise ValueError(f"espeak-ng did not speak {text[:40]!r} as {voice!r}: {why or 'it said nothing'}")
    rate = int.from_bytes(done.stdout[24:28], "little")  # a WAV header of 44 bytes, whose length field is not set
    data = done.stdout[44 : len(done.stdout) // 2 * 2]
    sound = levelled(resampled(np.frombuffer(data, dtype="<i2") / 32768, SAMPLING_RATE / rate))
    sound.flags.writeable = False
    return sound


def make_synthesiser(speaks: str | Synthesiser) -> Synthesiser:
    """A synthesiser by its name, "recordings" or "espeak", or the object itself.

    Raises:
        ValueError: another name. FileNotFoundError: espeak-ng is not installed.
    """
    if not isinstance(speaks, str):
        return speaks
    if speaks == "recordings":
        return Recordings()
    if speaks == "espeak":
        return Espeak()
    raise ValueError(f"speaks={speaks!r}: expected 'recordings', 'espeak', or an object with a method `speak`")
