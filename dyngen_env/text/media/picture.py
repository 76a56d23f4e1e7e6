"""A picture: pixels that an agent is shown, decoded from PNG or JPEG with limits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dyngen_env.text.media.medium import Medium, interned

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST_SIDE = 1024  # pixels
MOST_BYTES = 16 * 2**20  # of a file
MOST_PIXELS = 2**24  # of a file, decompressed: small files can claim gigabytes ("decompression bombs")


class Picture(Medium):
    """A picture in colour. Equal pixels are one object, so `==` and `hash` go by content.

    Args:
        pixels: (H, W, 3) uint8, red, green and blue; each side from 1 to 1024 pixels. Copied.

    Raises:
        ValueError: another dtype, shape or size.
    """

    __slots__ = ()
    kind = "picture"

    def __new__(cls, pixels: np.ndarray) -> Picture:
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            found = pixels.dtype if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise ValueError(f"a picture is a uint8 array of shape (H, W, 3), got {found}")
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"a picture is a uint8 array of shape (H, W, 3), got shape {pixels.shape}")
        if not all(1 <= side <= LONGEST_SIDE for side in pixels.shape[:2]):
            raise ValueError(
                f"a picture has sides of 1 to {LONGEST_SIDE} pixels, got {_by(pixels.shape[:2])}: give from_file a size"
            )
        return interned(cls, pixels)  # type: ignore[return-value]

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8, read-only."""
        return self._array

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self._array.shape[:2]

    def __repr__(self) -> str:
        return f"Picture({_by(self.size)})"

    @staticmethod
    def from_file(source: str | Path | bytes, size: tuple[int, int] | None = None) -> Picture:
        """Read a PNG or JPEG file; what is transparent becomes white.

        Args:
            source: a path, or the file's content.
            size: (H, W) to scale to, from 1 to 1024 each; None: as it is.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no such file, a damaged one, or above the limits (16 MB, 16 million pixels); or `size`.
        """
        from PIL import Image  # loads when a picture is first read: most environments never do

        if size is not None:
            _check_size(size)
        name = "the picture" if isinstance(source, bytes) else f"picture {str(source)!r}"
        data = read_bytes(source, name, MOST_BYTES)
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                width, height = image.size
                if width * height <= MOST_PIXELS:
                    seen = _in_8_bits(image).convert("RGBA")
                    white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
                    seen = Image.alpha_composite(white, seen).convert("RGB")
                    if size is not None:
                        seen = seen.resize((size[1], size[0]), Image.Resampling.LANCZOS)
                    pixels = np.array(seen)
        except Exception as error:  # a decoder of files from anywhere may raise anything
            raise ValueError(f"{name} is no PNG or JPEG file, or a damaged one ({_first_line(error)})") from error
        if width * height > MOST_PIXELS:
            raise ValueError(f"{name} has {width} x {height} pixels: at most {MOST_PIXELS} are read, so scale it down")
        return Picture(pixels)


def _check_size(size: Any) -> None:
    """Raises ValueError if `size` is no (H, W) that a picture may have."""
    pair = isinstance(size, Sequence) and len(size) == 2
    if not (pair and all(isinstance(side, int | np.integer) and 1 <= side <= LONGEST_SIDE for side in size)):
        raise ValueError(f"size={size!r}: expected (H, W), two integers from 1 to {LONGEST_SIDE}")


def _in_8_bits(image: Image) -> Image:
    """Greys of 16 bits scaled to 8, where Pillow would cut off all above 255; any other image as it is."""
    from PIL import Image as pillow

    if image.mode not in ("I", "I;16", "I;16B"):
        return image
    return pillow.fromarray(np.rint(np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8))


def read_bytes(source: str | Path | bytes, name: str, most: int) -> bytes:
    """The content of a file of at most `most` bytes. Raises FileNotFoundError, or ValueError if it has more."""
    if isinstance(source, bytes):
        data, size = source, len(source)
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no file {str(path)!r}")
        size = path.stat().st_size
        data = path.read_bytes() if size <= most else b""
    if size > most:
        raise ValueError(f"{name} has {size} bytes: at most {most} are read")
    return data


def _by(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
