"""Small pictures with words: the emoji drawn by Twitter, 32x32 pixels, split by what they show.

They lie in one PNG file, a sheet of tiles with a table of words in a text chunk; `make_pictures.py` makes it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("pictures.png")
SIDE = 32  # pixels of a picture's side
COLUMNS = 62  # tiles in a line of the sheet
CHUNK = "words"  # the PNG text chunk that holds the table
FIELDS = ("id", "base", "category", "kind", "names", "colours")
SPLITS = ("train", "tune", "eval")


@dataclass(frozen=True, eq=False)
class EmojiPicture:
    """One picture and its words, all in lower case.

    Attributes:
        id: its Unicode code points, such as "1f3c3-1f3fd": unique.
        base: the id that all pictures of the same thing share: other skin tones and genders, facing the other way, and
            pictures that look the same. Splits are by it.
        category: one of ten, such as "animals nature".
        kind: one of a hundred within the category, such as "animal mammal".
        names: what it is called, the most usual first: "runner", "running".
        colours: those of at least a fifth of its surface, the largest first, three at most.
        pixels: (32, 32, 3) uint8, on white, not to be written to.
    """

    id: str
    base: str
    category: str
    kind: str
    names: tuple[str, ...]
    colours: tuple[str, ...]
    pixels: np.ndarray


def split_of(base: str) -> str:
    """ "train", "tune" or "eval" (70/10/20), by the SHA-256 of what the pictures have in common."""
    tenth = int.from_bytes(hashlib.sha256(base.encode()).digest()[:8], "big") % 10
    return "train" if tenth < 7 else "tune" if tenth == 7 else "eval"


def load_pictures(split: str | None = None) -> list[EmojiPicture]:
    """The pictures of a split, or all of them, in the order of the file, which never changes.

    Raises:
        ValueError: another split.
    """
    if split not in (None, *SPLITS):
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(map(repr, SPLITS))}")
    return [picture for picture in _all_pictures() if split in (None, split_of(picture.base))]


@cache
def _all_pictures() -> tuple[EmojiPicture, ...]:
    from PIL import Image  # loads when pictures are first asked for: most environments never do

    with Image.open(PATH) as sheet:
        lines = sheet.text[CHUNK].splitlines()  # type: ignore[attr-defined]
        pixels = np.asarray(sheet.convert("RGB"))
    rows = len(pixels) // SIDE
    tiles = pixels.reshape(rows, SIDE, COLUMNS, SIDE, 3).swapaxes(1, 2).reshape(rows * COLUMNS, SIDE, SIDE, 3)
    tiles.flags.writeable = False
    return tuple(_picture(line.split("\t"), tile) for line, tile in zip(lines, tiles, strict=False))


def _picture(fields: list[str], pixels: np.ndarray) -> EmojiPicture:
    id_, base, category, kind, names, colours = fields
    return EmojiPicture(id_, base, category, kind, tuple(names.split("|")), tuple(colours.split()), pixels)
