"""Is the log on disk before a rating is acknowledged? The system calls of the server say it, by strace.

SIGKILL spares what the kernel has in memory, so that killing alone shows nothing about a machine that loses power.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.feedback_store.serving import Client, serving, store_with_turns

CALLS = "fsync,fdatasync,pwrite64,write,writev,sendto,sendmsg"


def traced(folder: Path, ratings: int = 50) -> dict[str, Any]:
    """How many acknowledgements there were, and how many of them came after the log's last bytes had been synced."""
    if shutil.which("strace") is None:
        return {"skipped": "strace is not installed"}
    path, trace = folder / "traced.db", folder / "trace"
    [turn] = store_with_turns(path, 1)
    with serving(path, ("strace", "-f", "-y", "-tt", "-s", "60", "-e", f"trace={CALLS}", "-o", str(trace))) as server:
        client = Client(server.port)
        for number in range(ratings):
            client.post("/rate", person="ada", turn=turn.id, value=number % 4, key=str(number))
            time.sleep(0.002)
    return read_trace(trace.read_text(errors="replace"))


def read_trace(trace: str) -> dict[str, Any]:
    """Count acknowledgements in a trace, and those before which the log was written and then synced."""
    acknowledged = synced = syncs = 0
    written = clean = False
    waiting: set[str] = set()  # threads within a sync of the log
    for line in trace.splitlines():
        thread = line.split(" ", 1)[0]
        if re.search(r"pwrite64\(\d+<[^>]*-wal>", line):
            written, clean = True, False
        elif re.search(r"f(data)?sync\(\d+<[^>]*-wal> <unfinished", line):
            waiting.add(thread)
        elif re.search(r"f(data)?sync\(\d+<[^>]*-wal>\) += 0", line) or (
            thread in waiting and re.search(r"f(data)?sync resumed>\) += 0", line)
        ):
            waiting.discard(thread)
            clean, syncs = written, syncs + 1
        elif "HTTP/1.1 200" in line:
            acknowledged += 1
            synced += clean
            written = clean = False
    return {"acknowledged": acknowledged, "synced_before": synced, "syncs_of_the_log": syncs}
