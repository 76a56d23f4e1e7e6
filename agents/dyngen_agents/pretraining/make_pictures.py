"""Makes `pictures.png` from the published emoji: smaller pictures, their words, and which of them show the same thing.

    npm pack emoji-datasource-twitter@16.0.0
    python -m dyngen_agents.pretraining.make_pictures --archive emoji-datasource-twitter-16.0.0.tgz

Each picture of 64x64 pixels is laid on white and halved; all share a palette of 256 colours. The table of words stands
in a text chunk of the PNG file, so that the pictures and their words are one file (`dyngen_env.assets.pictures`).
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from dyngen_env.assets.pictures import CHUNK, COLUMNS, PATH, SIDE

log = logging.getLogger(__name__)

FOLDER = "package/img/twitter/64/"
SAME = 5.0  # two pictures whose colours differ by less, root mean square of 0 to 255, count as one
IGNORED_WORDS = {"a", "an", "and", "at", "for", "in", "of", "on", "or", "the", "to", "with", "sign", "symbol"}
SKIN_TONES = {f"1f3f{tone}" for tone in "bcdef"}
NOT_OF_THE_BASE = SKIN_TONES | {"fe0f", "2640", "2642", "27a1"}  # presentation, genders, facing right
PERSON = {"1f468": "1f9d1", "1f469": "1f9d1"}  # man, woman
SIBLINGS = {  # code points of their own that are the same thing but for gender
    "1f466": "1f9d2",  # boy, girl, child
    "1f467": "1f9d2",
    "1f474": "1f9d3",  # older man, woman, person
    "1f475": "1f9d3",
    "1f478": "1fac5",  # princess, prince, person with crown
    "1f934": "1fac5",
    "1f385": "1f9d1-1f384",  # Father, Mother and Mx Claus
    "1f936": "1f9d1-1f384",
    "1f930": "1fac4",  # pregnant woman, man, person
    "1fac3": "1fac4",
    "1f57a": "1f483",  # dancing man, dancer
    "1f46b": "1f9d1-1f91d-1f9d1",  # holding hands
    "1f46c": "1f9d1-1f91d-1f9d1",
    "1f46d": "1f9d1-1f91d-1f9d1",
}
CHILDREN = {"1f466", "1f467", "1f9d2"}


@dataclass
class Entry:
    """A picture of the archive on its way into the file."""

    id: str
    base: str
    category: str
    kind: str
    names: tuple[str, ...]
    pixels: np.ndarray  # (64, 64, 4) uint8

    def line(self) -> str:
        """Its line in the table, fields as `assets.pictures.FIELDS`."""
        names, colours = "|".join(self.names), " ".join(colours_of(self.pixels))
        return "\t".join((self.id, self.base, self.category, self.kind, names, colours))


def base_of(code: str) -> str:
    """What a picture shows, whoever is shown in it: its code points without skin tone, gender and direction.

    Families are one thing, couples another, kissing couples a third.
    """
    codes = [part for part in code.lower().split("-") if part != "200d"]
    parts = [PERSON.get(part, part) for part in codes if part not in NOT_OF_THE_BASE] or codes[:1]
    if (len(parts) > 1 and CHILDREN & set(parts)) or parts == ["1f46a"]:
        return "family"
    if "1f48b" in parts[1:] or parts == ["1f48f"]:
        return "kiss"
    if ("1f9d1" in parts and "2764" in parts) or parts == ["1f491"]:
        return "couple"
    if parts == ["1faf1", "1faf2"]:  # two hands of different tones
        return "1f91d"
    return SIBLINGS.get("-".join(parts), "-".join(parts))


def names_of(record: dict[str, Any]) -> tuple[str, ...]:
    """What an emoji is called: its short names, then its Unicode name, without small words; each set of words once.

    A name with digits or with a country's code ("flag-bo") is left out where there is another.
    """
    names = [*record["short_names"], record["name"]]
    if record["category"] == "Flags":
        names = [record["name"], *(name for name in record["short_names"] if not name.startswith("flag-"))]
    spoken = [words(name) for name in names if not re.search(r"\d", name)] or [words(names[-1])]
    unique: dict[frozenset[str], str] = {}
    for name in filter(None, spoken):
        unique.setdefault(frozenset(name.split()), name)
    return tuple(unique.values()) or ("symbol",)


def words(text: str) -> str:
    """The words of a published name, in lower case, each once, without those that say nothing."""
    return " ".join(dict.fromkeys(w for w in re.findall(r"[^\W\d_]+", text.lower()) if w not in IGNORED_WORDS))


def colours_of(pixels: np.ndarray, least: float = 0.2, most: int = 3) -> tuple[str, ...]:
    """The colours of at least a share of a picture's surface, the largest first; the largest one if none has so much.

    Args:
        pixels: (H, W, 4) uint8, with the transparency last; half-transparent points are no surface.
    """
    surface = Image.fromarray(pixels[..., :3]).convert("HSV")
    points = np.asarray(surface)[pixels[..., 3] >= 128]
    counts = Counter[str]()
    for (hue, saturation, value), count in zip(*np.unique(points, axis=0, return_counts=True), strict=True):
        counts[colour_name(hue / 255 * 360, saturation / 255, value / 255)] += int(count)
    common = [name for name, count in counts.most_common(most) if count >= least * len(points)]
    return tuple(common) or (counts.most_common(1)[0][0],)


def colour_name(hue: float, saturation: float, value: float) -> str:
    """What people call a colour, by rules of thumb for this palette: hue in degrees, the others from 0 to 1."""
    if value < 0.3:
        return "black"
    if saturation < 0.22:
        return "white" if value > 0.9 and saturation < 0.12 else "beige" if hue < 50 and value > 0.9 else "grey"
    if hue < 45 and (value < 0.5 or (hue > 10 and saturation < 0.65 and value < 0.85)):
        return "brown"
    if 15 <= hue < 50 and saturation < 0.35:
        return "beige"
    if (hue < 15 or hue >= 300) and saturation < 0.65 and value > 0.85:
        return "pink"
    ends = (15, "red"), (40, "orange"), (70, "yellow"), (165, "green"), (255, "blue"), (300, "purple"), (340, "pink")
    return next((name for end, name in ends if hue < end), "red")


def read_archive(path: Path) -> list[Entry]:
    """All pictures of the npm package, each skin tone one, in the order of its table.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not the archive of that package.
    """
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive.getmembers()}
        if "package/emoji.json" not in members:
            raise ValueError(f"{path} has no package/emoji.json: expected the archive of emoji-datasource-twitter")

        def content(name: str) -> bytes:
            file = archive.extractfile(members[name])
            assert file is not None
            return file.read()

        entries = []
        for record in json.loads(content("package/emoji.json")):
            category = words("symbols" if record["category"] == "Component" else record["category"])
            kind = words(record["subcategory"].replace("&", " "))
            for drawn in (record, *record.get("skin_variations", {}).values()):
                with Image.open(io.BytesIO(content(FOLDER + drawn["image"]))) as picture:
                    pixels = np.asarray(picture.convert("RGBA"))
                id_ = drawn["unified"].lower()
                entries.append(Entry(id_, base_of(id_), category, kind, names_of(record), pixels))
    return entries


def on_white(pixels: np.ndarray) -> np.ndarray:
    """(64, 64, 4) with transparency to (32, 32, 3) on white."""
    paper = Image.new("RGBA", pixels.shape[1::-1], "white")
    paper.alpha_composite(Image.fromarray(pixels))
    return np.asarray(paper.convert("RGB").reduce(pixels.shape[0] // SIDE))


def join_look_alikes(bases: Sequence[str], pictures: np.ndarray, blocks: int = 256) -> list[str]:
    """The bases, those of pictures that look the same made equal, so that no split holds a copy of another's picture.

    Args:
        bases: (N,) what each picture shows. pictures: (N, 32, 32, 3) uint8.
    """
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    squares = (flat**2).sum(1)
    same = {base: base for base in bases}

    def root(base: str) -> str:
        return base if same[base] == base else root(same[base])

    for start in range(0, len(flat), blocks):
        some = slice(start, start + blocks)
        distances = squares[some, None] + squares - 2 * flat[some] @ flat.T  # (blocks, N), squared
        for row, other in zip(*np.nonzero(distances < SAME**2 * flat.shape[1]), strict=True):
            one, two = sorted((root(bases[start + row]), root(bases[other])))
            same[two] = one
    return [root(base) for base in bases]


def sheet_of(pictures: np.ndarray) -> Image.Image:
    """(N, 32, 32, 3) as one picture of tiles, the last ones white, in a palette of 256 colours."""
    rows = -(-len(pictures) // COLUMNS)
    tiles = np.full((rows * COLUMNS, SIDE, SIDE, 3), 255, dtype=np.uint8)
    tiles[: len(pictures)] = pictures
    pixels = tiles.reshape(rows, COLUMNS, SIDE, SIDE, 3).swapaxes(1, 2).reshape(rows * SIDE, COLUMNS * SIDE, 3)
    return Image.fromarray(pixels).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True, help="what `npm pack` has written")
    parser.add_argument("--out", type=Path, default=PATH, help="file to write (default: the packaged one)")
    args = parser.parse_args()
    entries = read_archive(args.archive)
    sheet = sheet_of(np.stack([on_white(entry.pixels) for entry in entries]))
    tiles = np.asarray(sheet.convert("RGB")).reshape(-1, SIDE, COLUMNS, SIDE, 3).swapaxes(1, 2)
    bases = join_look_alikes([entry.base for entry in entries], tiles.reshape(-1, SIDE, SIDE, 3)[: len(entries)])
    for entry, base in zip(entries, bases, strict=True):
        entry.base = base
    table = PngImagePlugin.PngInfo()
    table.add_text(CHUNK, "\n".join(entry.line() for entry in entries), zip=True)
    sheet.save(args.out, optimize=True, pnginfo=table)
    log.info(
        "%s: %d pictures of %d things, %d bytes", args.out.name, len(entries), len(set(bases)), args.out.stat().st_size
    )


if __name__ == "__main__":
    main()
