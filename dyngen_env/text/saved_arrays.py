"""Models of texts that are kept as arrays in `.npz` files: reading one, or saying in one line why a file is none."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def saved_arrays(path: str | Path, names: Iterable[str], what: str, remedy: str) -> dict[str, np.ndarray]:
    """All arrays of a file, by name.

    Args:
        names: which must be there.
        what: the file should be, and remedy: how one gets such a file, both for messages.

    Raises:
        FileNotFoundError: no such file. ValueError: it is none of these files, or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no {what} {str(path)!r}: {remedy}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no {what}: {remedy}")
    try:
        with np.load(path) as file:
            missing = sorted(set(names) - set(file.files))
            found = {} if missing else {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError) as error:  # as zips break
        raise ValueError(f"{path} is no {what}, or a damaged one ({error}): {remedy}") from error
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}, so it is no {what}: {remedy}")
    return found
