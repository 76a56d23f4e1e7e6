"""Rewards and users of one's own that settings name by where they are: "mine.py:Terse", "package.module:terse"."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


def is_imported(text: str | None) -> bool:
    """Whether the text names something in a file or a module, and is no expression over known names."""
    where, colon, name = (text or "").rpartition(":")
    return bool(colon) and name.isidentifier() and (where.endswith(".py") or _is_module(where))


def with_absolute_path(text: str) -> str:
    """The same object, named so that it is found from any working directory. A module's name is left as it is."""
    where, _, name = text.rpartition(":")
    return f"{Path(where).expanduser().absolute()}:{name}" if where.endswith(".py") else text


def imported(text: str) -> Any:
    """The object: a function or an instance as it is, of a class an instance made without arguments.

    Args:
        text: as `is_imported` says. Modules are also looked for in the working directory.

    Raises:
        FileNotFoundError: no such file.
        ValueError: there is no such module or name, it raises an error while it is imported, or the class wants
            arguments.
    """
    where, _, name = text.rpartition(":")
    try:
        module = _from_file(where) if where.endswith(".py") else _by_name(where)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{text!r}: {where} cannot be imported ({type(error).__name__}: {error})") from error
    if not hasattr(module, name):
        names = [each for each in vars(module) if not each.startswith("_")]
        near = difflib.get_close_matches(name, names, n=1)
        raise ValueError(f"{text!r}: {where} has no {name!r}" + (f", did you mean {near[0]!r}?" if near else ""))
    found = getattr(module, name)
    if not inspect.isclass(found):
        return found
    try:
        return found()
    except Exception as error:
        raise ValueError(
            f"{text!r}: {name}() fails ({type(error).__name__}: {error}). A class is made without arguments: if it "
            f"wants some, name an object, {name.lower()} = {name}(...)"
        ) from error


def _is_module(where: str) -> bool:
    return all(part.isidentifier() for part in where.split("."))


def _from_file(where: str) -> ModuleType:
    path = Path(where).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file {where}")
    path = path.resolve()
    return _executed(path, path.stat().st_mtime_ns)


@cache
def _executed(path: Path, modified_ns: int) -> ModuleType:
    """The module in a file, executed once for all who name something in it, and again when it has changed."""
    name = f"dyngen_imported_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look there
    _look_in(path.parent)  # for the modules beside it, as `python mine.py` would
    spec.loader.exec_module(module)
    return module


def _by_name(where: str) -> ModuleType:
    _look_in(Path.cwd())
    return importlib.import_module(where)


def _look_in(folder: Path) -> None:
    """Let modules be found in a folder, after everywhere else."""
    if str(folder) not in sys.path:
        sys.path.append(os.fspath(folder))
