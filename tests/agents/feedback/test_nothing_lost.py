"""The short form of `python -m benchmarks.feedback_store`: a killed server loses nothing it has acknowledged."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("uvicorn", reason="needs uvicorn and starlette: pip install uvicorn starlette")
if sys.platform == "win32":
    pytest.skip("the benchmark forks", allow_module_level=True)

from benchmarks.feedback_store.full import full
from benchmarks.feedback_store.killed import killed
from benchmarks.feedback_store.traced import read_trace


def test_what_was_acknowledged_is_there_once(tmp_path):
    found = killed(tmp_path, kills=3)
    assert (found["lost"], found["doubled"], found["changed"], found["integrity"]) == (0, 0, 0, "ok")
    assert found["acknowledged"] >= 8 and found["attempts"] > found["acknowledged"]  # some had to ask again


def test_a_full_disk_is_said_and_it_goes_on_when_there_is_space(tmp_path):
    found = full(tmp_path)
    assert found["all_there_afterwards"] and found["integrity"] == "ok" and found["readable_while_full"] > 10
    assert found["said"].startswith("FILE: the disk is full: nothing of this was stored")


def test_the_trace_tells_a_sync_before_an_answer_from_one_after():
    write, sync = "7 pwrite64(9</a/b.db-wal>, ...) = 4120", "7 fdatasync(9</a/b.db-wal>) = 0"
    other, answer = "7 fdatasync(8</a/b.db>) = 0", '7 sendto(3<socket:[1]>, "HTTP/1.1 200 OK") = 60'
    begun, ended = "7 fdatasync(9</a/b.db-wal> <unfinished ...>", "7 <... fdatasync resumed>) = 0"

    def synced(*lines):
        return read_trace("\n".join(lines))["synced_before"]

    assert synced(write, sync, answer) == synced(write, begun, ended, answer) == 1
    assert synced(write, answer, sync) == synced(write, sync, write, answer) == synced(write, other, answer) == 0
    assert synced(write, begun, answer, ended) == synced(sync, answer) == 0
    assert synced(write, sync, answer, answer) == 1
    assert synced(write, "8 fdatasync(8</a/b.db> <unfinished ...>", "8" + ended[1:], answer) == 0  # of another file
