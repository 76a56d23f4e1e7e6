"""A machine that dies may leave any part of the log: the file is opened with it cut at every byte."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.feedback_store.serving import store_with_turns
from dyngen_agents.feedback.store import FeedbackStore


def cut(folder: Path, stride: int = 1, transactions: int = 3) -> dict[str, Any]:
    """Cut the log at every `stride`-th byte of its last transactions; count cuts after which a rating was not whole."""
    path = folder / "cut.db"
    [turn] = store_with_turns(path, 1)
    sizes = []
    with FeedbackStore(path) as store:
        ada = store.person("ada")
        for number in range(5 + transactions):
            store.add_feedback("rating", ada, turn, number % 4, key=str(number))
            sizes.append(Path(f"{path}-wal").stat().st_size)
        file, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    cuts = wrong = 0
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of copies
    with tempfile.TemporaryDirectory(dir=memory) as place:
        copy = Path(place) / "copy.db"
        for end in range(sizes[4], sizes[-1] + 1, stride):
            copy.write_bytes(file)
            Path(f"{copy}-wal").write_bytes(log[:end])
            with FeedbackStore(copy, create=False) as store:
                found = [(given.key, given.value) for given in store.feedback()]
                with store.connection.reading() as database:
                    [integrity] = database.execute("PRAGMA quick_check").fetchone()
            expected = [(str(number), number % 4) for number, size in enumerate(sizes) if size <= end]
            wrong += found != expected or integrity != "ok"
            cuts += 1
            Path(f"{copy}-wal").unlink(missing_ok=True)
    shutil.rmtree(folder / "copies", ignore_errors=True)
    return {"transactions": transactions, "bytes": sizes[-1] - sizes[4], "cuts": cuts, "wrong": wrong}
