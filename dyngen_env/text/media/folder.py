"""Media as files: a folder of NumPy arrays, each named by the number that its content gives it.

    media/281474976710656.npy    uint8 (H, W, 3), a picture; float32 (T,), a sound

Whoever writes tokens to a file writes the media beside it, and whoever reads the tokens holds what `load` gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dyngen_env.text.media.medium import Medium
from dyngen_env.text.media.sound import medium_of

MEDIA = "media"  # the folder, beside the file whose tokens name what is in it


def save(folder: Path, media: Iterable[Medium]) -> None:
    """Write what the folder does not have yet. Raises OSError if that fails."""
    for medium in media:
        file = folder / f"{medium.number}.npy"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = folder / f"{medium.number}.unfinished"
            with unfinished.open("wb") as out:
                np.save(out, medium.array)
            unfinished.replace(file)


def load(folder: Path, number: int) -> Medium:
    """The medium of this number. Raises ValueError if the folder does not have it, or something else in its place."""
    file = folder / f"{number}.npy"
    if not file.is_file():
        raise ValueError(f"it shows a picture or a sound that is not there, {file}: copy {MEDIA}/ with the episodes")
    try:
        medium = medium_of(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{file} is damaged ({error}): copy it again") from error
    if medium.number != number:
        raise ValueError(f"{file} holds another picture or sound than its name says: copy it again")
    return medium
