"""The file: what it survives, and what is refused instead of being damaged."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dyngen_agents.feedback.store import FeedbackStore, StoreError, schema


def ratings_in(path) -> list[float]:
    with FeedbackStore(path, create=False) as store:
        return [given.value for given in store.feedback()]


def test_commits_are_on_disk_before_they_are_acknowledged(store):
    with store.connection.reading() as database:
        settings = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 2]  # 2 is FULL


def test_a_log_cut_anywhere_keeps_all_earlier_ratings(store, answers, tmp_path):
    """A crash of the machine may leave any part of the last transaction: it is there as a whole or not at all."""
    ada, log, sizes = store.person("ada"), f"{store.path}-wal", []
    for rating in (1, 2, 3):
        store.add_feedback("rating", ada, answers[0], rating)
        sizes.append(os.path.getsize(log))
    whole = Path(log).read_bytes()
    copy = tmp_path / "copy.db"
    for end in (sizes[0], sizes[0] + 1, (sizes[0] + sizes[1]) // 2, sizes[1] - 1, sizes[1], sizes[2] - 7, sizes[2]):
        shutil.copy(store.path, copy)
        (tmp_path / "copy.db-wal").write_bytes(whole[:end])
        assert ratings_in(copy) == [rating for rating, size in zip((1, 2, 3), sizes, strict=True) if size <= end]


def test_a_full_disk_is_said_and_damages_nothing(store, answers):
    ada = store.person("ada")
    store.add_feedback("rating", ada, answers[0], 1)
    with store.connection.reading() as database:
        [pages] = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match=r"the disk is full: nothing of this was stored.*free space"):
        store.add_turn(1, "user", "x" * 100_000)
    store.add_feedback("rating", ada, answers[0], 2)  # small enough
    with store.connection.reading() as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [given.value for given in store.feedback()] == [1, 2] and len(store.turns(1)) == 4


def test_threads_and_processes_write_at_once(store, answers):
    code = (
        "import sys; from dyngen_agents.feedback.store import FeedbackStore; s = FeedbackStore(sys.argv[1]);"
        "[s.add_feedback('rating', s.person(sys.argv[2]), 2, i % 4, key=str(i)) for i in range(20)]"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, store.path, f"process {i}"]) for i in range(2)]

    def write(name):
        for i in range(20):
            store.add_feedback("rating", store.person(name), answers[0], i % 4, key=str(i))

    threads = [threading.Thread(target=write, args=[f"thread {i}"]) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait() for process in processes] == [0, 0]
    given = store.feedback()
    assert len(given) == 80 and {person.name for person in store.people()} - {"ada"} == {x.person.name for x in given}


def test_several_may_make_the_store_at_once(tmp_path):
    for attempt in range(5):
        path, together, people = tmp_path / f"{attempt}.db", threading.Barrier(4), []

        def make(number, path=path, together=together, people=people):
            together.wait()
            with FeedbackStore(path) as store:
                people.append(store.person(f"rater {number}").name)

        threads = [threading.Thread(target=make, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(people) == 4


def test_a_forked_child_writes_through_a_connection_of_its_own(store, answers):
    ada = store.person("ada")
    child = os.fork()
    if child == 0:
        try:
            store.add_feedback("rating", ada, answers[0], 2)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    store.add_feedback("rating", ada, answers[0], 3)
    assert [given.value for given in store.feedback()] == [2, 3]


def test_an_older_store_is_brought_up_to_date(store, answers, monkeypatch):
    store.add_feedback("rating", store.person("ada"), answers[0], 1)
    store.close()
    newer = (*schema.MIGRATIONS, ("ALTER TABLE people ADD COLUMN colour TEXT", "UPDATE people SET colour = 'red'"))
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    assert ratings_in(store.path) == [1]
    file = sqlite3.connect(store.path)
    assert file.execute("SELECT colour FROM people").fetchall() == [("red",)]
    assert file.execute("PRAGMA user_version").fetchone() == (2,)
    file.close()
    monkeypatch.setattr(schema, "MIGRATIONS", newer[:1])
    with pytest.raises(ValueError, match="is a store of version 2, this dyngen knows versions up to 1: upgrade"):
        FeedbackStore(store.path)


def test_a_migration_that_fails_changes_nothing(store, monkeypatch):
    store.person("ada")
    store.close()
    broken = (*schema.MIGRATIONS, ("ALTER TABLE people ADD COLUMN colour TEXT", "DROP TABLE missing"))
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    with pytest.raises(StoreError, match="no such table"):
        FeedbackStore(store.path)
    monkeypatch.setattr(schema, "MIGRATIONS", broken[:1])
    with FeedbackStore(store.path) as again:
        assert [person.name for person in again.people()] == ["ada"]


def test_what_is_no_store_is_left_alone(tmp_path):
    text, other, nothing = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "empty.db"
    text.write_text("my notes " * 200)
    file = sqlite3.connect(other)
    file.execute("CREATE TABLE recipes (name TEXT)")
    file.commit()
    file.close()
    before = text.read_bytes(), other.read_bytes()
    with pytest.raises(ValueError, match=r"notes\.txt is no feedback store"):
        FeedbackStore(text)
    with pytest.raises(ValueError, match=r"other\.db is a SQLite file of something else, not a feedback store"):
        FeedbackStore(other)
    assert (text.read_bytes(), other.read_bytes()) == before
    with pytest.raises(FileNotFoundError, match=r"no feedback store .*empty\.db: `dyngen serve"):
        FeedbackStore(nothing, create=False)
    with pytest.raises(ValueError, match="is a folder"):
        FeedbackStore(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no folder: make it"):
        FeedbackStore(tmp_path / "nowhere" / "feedback.db")
    nothing.touch()
    with pytest.raises(ValueError, match=r"empty\.db is empty, no feedback store: `dyngen serve"):
        FeedbackStore(nothing, create=False)
    assert nothing.read_bytes() == b""
    with FeedbackStore(nothing) as store:
        assert store.people() == []


def test_a_file_that_may_not_be_written_can_be_read(store, answers, monkeypatch):
    store.add_feedback("rating", store.person("ada"), answers[0], 1)
    store.close()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everywhere
    assert ratings_in(store.path) == [1]
    with FeedbackStore(store.path) as reader, pytest.raises(StoreError, match="may not be written: change the perm"):
        reader.person("bob")


def test_a_damaged_file_is_said(store, answers):
    for _ in range(50):
        store.add_feedback("rating", store.person("ada"), answers[0], 1)
    store.close()
    with open(store.path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (os.path.getsize(store.path) - 4096))
    with pytest.raises(StoreError, match="the file is damaged"):
        ratings_in(store.path)
