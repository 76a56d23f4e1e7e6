"""Who writes down what is said: the protocol of a recogniser, and the choice by name."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from dyngen_env.text.media import Sound
from dyngen_env.users.speech.persona_sayings import PersonaSayings
from dyngen_env.users.speech.whisper import Whisper


class Recogniser(Protocol):
    """Writes down what it hears."""

    def transcribe(self, sound: Sound) -> str:
        """The words of a sound, as text; an empty one if it has none. Equal sounds give equal words."""


def make_recogniser(recogniser: str | Recogniser) -> Recogniser:
    """A recogniser by its name, "persona_sayings", or by the folder of a Whisper model; or the object itself.

    Raises:
        ValueError: neither a name nor a folder with a model. ImportError: faster-whisper is not installed.
    """
    if not isinstance(recogniser, str | Path):
        return recogniser
    if recogniser == "persona_sayings":
        return PersonaSayings()
    if not recogniser or not Path(recogniser).is_dir():  # "" would be the working directory
        raise ValueError(
            f"recogniser={str(recogniser)!r}: expected 'persona_sayings', or a folder with a Whisper model for "
            "faster-whisper"
        )
    return Whisper(recogniser)
