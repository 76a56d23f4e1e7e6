"""A disk that is full: is it said, is everything whole, and does it go on when there is space again?"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.feedback_store.serving import store_with_turns
from dyngen_agents.feedback.store import FeedbackStore, StoreError


def full(folder: Path, kilobytes: int = 1024) -> dict[str, Any]:
    """Rate until the disk is full, make space, and rate again."""
    with _small_disk(folder / "disk", kilobytes) as disk:
        where = disk or folder
        path, ballast = where / "full.db", where / "ballast"
        [turn] = store_with_turns(path, 1)
        if disk is not None:
            ballast.write_bytes(b"\0" * 128 * 1024)
        said, kept, refused = "", 0, 0
        with FeedbackStore(path) as store:
            ada = store.person("ada")
            if disk is None:
                with store.connection.reading() as database:
                    database.execute("PRAGMA max_page_count = 100")
            while refused < 20:  # it stays refused, and damages nothing
                try:
                    store.add_feedback("words", ada, turn, f"{kept} " + "x" * 2000, key=str(kept))
                    kept += 1
                except StoreError as error:
                    said, refused = str(error), refused + 1
            readable = len(store.feedback())
            if disk is not None:
                ballast.unlink()
            else:
                with store.connection.reading() as database:
                    database.execute("PRAGMA max_page_count = 1000")
            store.add_feedback("rating", ada, turn, 3, key="afterwards")
        with FeedbackStore(path) as store:
            found = [given.key for given in store.feedback()]
            with store.connection.reading() as database:
                [whole] = database.execute("PRAGMA integrity_check").fetchone()
        return {
            "disk": f"tmpfs of {kilobytes} kB" if disk is not None else "max_page_count",
            "acknowledged": kept,
            "readable_while_full": readable,
            "all_there_afterwards": found == [*map(str, range(kept)), "afterwards"],
            "integrity": whole,
            "said": said.replace(str(path), "FILE"),
        }


@contextlib.contextmanager
def _small_disk(place: Path, kilobytes: int) -> Iterator[Path | None]:
    """A file system of that size in memory; None where we may not mount one."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    may = os.name == "posix" and os.geteuid() == 0
    if not may or subprocess.run(command, capture_output=True).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
