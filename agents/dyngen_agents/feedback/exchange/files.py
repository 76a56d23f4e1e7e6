"""Rows of a data set in files: JSON lines, or parquet by `datasets` and `pyarrow`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def write_rows(path: str | Path, rows: Sequence[Row]) -> None:
    """Write a `.jsonl` or `.parquet` file, as a whole or not at all.

    Raises:
        ValueError: another ending, or the path of a folder. ImportError: parquet, and `datasets` is not installed.
        FileNotFoundError: there is no such folder. OSError: it cannot be written.
    """
    path = _checked(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected the name of a file to write")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no folder: make it, or write {path.name} to another one")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix == ".parquet":
            _write_parquet(unfinished, rows)
        else:
            lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
            unfinished.write_text("".join(lines), encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:  # which names the unfinished file, that nobody has heard of
        raise OSError(f"{path} cannot be written: {error.strerror or error}; what stood there is as it was") from error
    finally:
        unfinished.unlink(missing_ok=True)


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a `.jsonl` or `.parquet` file; columns that a row has no value for are left out of it.

    Raises:
        FileNotFoundError: no such file. ImportError: parquet, and `datasets` is not installed. ValueError: it has
            another ending, or a line that is no JSON object, which the message names.
    """
    path = _checked(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    if path.suffix == ".parquet":
        _datasets()
        import pyarrow

        try:
            rows = pyarrow.parquet.read_table(path).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}") from error
    else:
        rows = _parsed_lines(path)
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    datasets = _datasets()
    showed_progress = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with path.open("wb") as file:
            datasets.Dataset.from_list(_same_columns(rows)).to_parquet(file)
    finally:
        if showed_progress:
            datasets.enable_progress_bars()


def _parsed_lines(path: Path) -> list[Row]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON texts may hold other line separators
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: byte {error.start} is {error.object[error.start]:#x}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: no JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: {line[:40]!r}, expected a JSON object a line")
            rows.append(row)
    return rows


def _checked(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if path.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"{path} has the ending {path.suffix!r}, expected .jsonl or .parquet")
    return path


def _same_columns(rows: Sequence[Row]) -> list[Row]:
    """The rows with None in columns that only others have: `from_list` takes the columns of the first."""
    columns = {name: None for row in rows for name in row}
    return [columns | row for row in rows]


def _datasets():
    try:
        import datasets
        import pyarrow.parquet  # noqa: F401  comes with it
    except ImportError as error:
        raise ImportError("parquet needs the package datasets: pip install datasets, or name a .jsonl file") from error
    return datasets
