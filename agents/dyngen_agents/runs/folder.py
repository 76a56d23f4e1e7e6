"""Where runs live: their names, and which one is `latest`."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from dyngen_agents.runs.checkpoint import has_checkpoint, open_checkpoint
from dyngen_env.lm.loading.sources import NAMES

RUNS = Path("runs")  # below the working directory


def new_run_folder(out: str | None, algorithm: str) -> Path:
    """Make the folder of a new run: `out`, or runs/<time>-<algorithm>.

    Raises:
        FileExistsError: `out` has something in it.
    """
    if out is not None:
        folder = Path(out).expanduser()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            remedy = "continue it with resume, or choose" if has_checkpoint(folder) else "choose"
            raise FileExistsError(f"{folder} is not empty: {remedy} another folder for the new run")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    stem = time.strftime("%Y-%m-%d-%H%M%S") + f"-{algorithm}"
    for suffix in ("", *(f"-{n}" for n in range(2, 1000))):
        with contextlib.suppress(FileExistsError):
            folder = RUNS / (stem + suffix)
            folder.mkdir(parents=True)
            return folder
    raise FileExistsError(f"{RUNS / stem} and a thousand like it exist")


def discard_run(run: Path) -> None:
    """Remove the folder of a new run that has no checkpoint yet, so that nobody takes it for one."""
    if not has_checkpoint(run):
        shutil.rmtree(run, ignore_errors=True)


def mark_latest(run: Path) -> None:
    """Let runs/latest lead to a run, if that is in runs/ and the file system has links."""
    if run.absolute().parent != RUNS.absolute():
        return
    link = RUNS / f".latest-{os.getpid()}"
    with contextlib.suppress(OSError):
        link.unlink(missing_ok=True)
        link.symlink_to(run.name)
        os.replace(link, RUNS / "latest")


def find_run(name: str | Path) -> Path:
    """The folder of a run, from its path, its name in runs/, or "latest".

    Raises:
        FileNotFoundError: there is none; the message names some that exist.
    """
    latest = [RUNS / "latest", *_by_age()]
    for place in latest if str(name) == "latest" else (Path(name).expanduser(), RUNS / name):
        if has_checkpoint(place):
            return place.parent / os.readlink(place) if place.is_symlink() else place
    known = ", ".join(run.name for run in _by_age()[:5])
    raise FileNotFoundError(
        f"no run {str(name)!r}: " + (f"runs/ has {known}" if known else "there is none in runs/ yet")
    )


def lasting_model_name(model: str | None) -> str | None:
    """A model's name that means the same tomorrow and elsewhere: a path is absolute, without links on its way.

    A name in runs/, or "latest", becomes the folder of that run. Other names, of the hub for example, stay as they are.

    Raises:
        FileNotFoundError: "latest", and there is no run. ValueError: a run that is damaged.
    """
    if model is None or model in NAMES:
        return model
    path = Path(model).expanduser()
    if not path.exists() and (model == "latest" or has_checkpoint(RUNS / model)):
        path = find_run(model)
    if has_checkpoint(path):
        return str(open_checkpoint(path.resolve(), training=False).folder)
    return str(path.resolve()) if path.exists() else model


def _by_age() -> list[Path]:
    """Runs in runs/, the newest first."""
    runs = [file.parent for file in RUNS.glob("*/run.json") if file.parent.name != "latest"]
    return sorted(runs, key=lambda run: (run / "run.json").stat().st_mtime, reverse=True)
