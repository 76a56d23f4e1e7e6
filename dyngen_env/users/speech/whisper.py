"""Whisper as a recogniser, by the package faster-whisper and a model in a local folder."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from dyngen_env.text.media import Sound

FILE = "model.bin"  # of a model in the format of CTranslate2
SILENCE = 1e-4  # a root mean square below which nobody speaks: Whisper invents words for silence


class Whisper:
    """A Whisper model (Radford et al. 2022), one thread on the CPU, greedy and in int8. It loads at the first sound.

    Args:
        folder: of a model in the format of CTranslate2, as faster-whisper reads it.
        language: of what is said, by its two letters.

    Raises:
        ValueError: the folder holds no such model. ImportError: faster-whisper is not installed.
    """

    def __init__(self, folder: str | Path, language: str = "en"):
        self.folder, self.language = Path(folder), language
        if not (self.folder / FILE).is_file():
            raise ValueError(f"{self.folder} has no {FILE}: expected a Whisper model in the format of CTranslate2")
        _package()

    def transcribe(self, sound: Sound) -> str:
        """See `Recogniser`."""
        if float((sound.samples**2).mean()) < SILENCE**2:
            return ""
        segments, _ = _model(str(self.folder)).transcribe(
            sound.samples,
            language=self.language,
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text.strip() for segment in segments)


def _package() -> Any:
    try:
        return importlib.import_module("faster_whisper")
    except ImportError as error:
        raise ImportError(
            "recognising speech by Whisper needs the package faster-whisper: pip install 'dyngen-env[speech]'"
        ) from error


@lru_cache(maxsize=1)
def _model(folder: str) -> Any:
    return _package().WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True)
