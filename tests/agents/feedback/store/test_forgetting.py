"""Forgetting: not a byte of what a person said remains, and nothing of others goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dyngen_agents.feedback.store import FeedbackStore, Forgotten, NotInStore

SECRET = "my name is Ozymandias"  # and names that keys, which are hexadecimal, cannot hold by chance


@pytest.fixture
def two_people(store):
    """Dialogues of zoe and of bob; each has rated both."""
    people = {name: store.person(name) for name in ("zoe", "bob")}
    turns = {}
    for name, person in people.items():
        dialogue = store.begin_dialogue(person, opening=f"{SECRET} {name}", settings={"note": f"{SECRET} {name}"})
        store.add_turn(dialogue, "user", f"{SECRET} {name} " * 500)
        turns[name] = store.add_turn(dialogue, "agent", f"hello {name}")
    given = {
        (who, about): store.add_feedback("words", people[who], turns[about], f"{SECRET} {who}")
        for who in people
        for about in turns
    }
    return people, turns, given


def bytes_of(store) -> bytes:
    return b"".join(file.read_bytes() for file in Path(store.path).parent.glob("feedback.db*"))


def test_no_byte_of_a_person_remains_and_all_of_others_does(store, two_people):
    people, _, given = two_people
    store.used_by("runs/one", [given["zoe", "bob"], given["bob", "bob"]])
    store.used_by("runs/two", [given["bob", "zoe"]])
    store.used_by("runs/three", [given["bob", "bob"]])
    assert f"{SECRET} zoe".encode() in bytes_of(store)
    gone = store.forget("zoe")
    # Her dialogue of two turns, her two words, and what bob said about her dialogue.
    assert gone == Forgotten(1, 2, 3, ("runs/one", "runs/two"))
    left = bytes_of(store)
    assert b"zoe" not in left and f"{SECRET} bob".encode() in left
    assert store.feedback() == [given["bob", "bob"]] and store.people() == [people["bob"]]
    assert [turn.text for turn in store.turns(2)][1] == "hello bob"
    assert store.forgotten() == [gone]
    with pytest.raises(NotInStore, match="is called 'zoe'"):
        store.forget("zoe")
    assert store.person("zoe").id > people["bob"].id  # ids are not given again


def test_what_they_answered_waits_for_somebody_else(store, two_people):
    people, turns, _ = two_people
    mine, theirs = (store.enqueue("rating", turns[name], raters=1) for name in ("zoe", "bob"))
    for _ in range(2):
        store.submit(store.lease(people["zoe"]), 2)
    assert store.waiting() == []
    store.forget("zoe")
    assert [task.id for task in store.waiting()] == [theirs.id] and store.lease(people["bob"]).task.id == theirs.id
    with pytest.raises(NotInStore):
        store.task(mine)


def test_while_somebody_reads_it_says_that_the_log_is_not_empty(store, two_people, monkeypatch):
    with FeedbackStore(store.path) as reader, reader.connection.reading() as database:
        database.execute("SELECT * FROM people").fetchall()
        with store.connection.reading() as own:
            own.execute("PRAGMA busy_timeout = 0")
        assert not store.forget("zoe").purged
    assert store.connection.purge() and b"zoe" not in bytes_of(store)


def test_dialogues_in_which_they_also_spoke_go_with_them(store):
    bob = store.person("bob")
    both = store.begin_dialogue(bob, settings={"people": ["zoe", "bob"]})
    alone = store.begin_dialogue(bob, settings={"people": ["bob"], "about": "zoe"})
    store.begin_dialogue(bob, settings={"people": "zoe?"})  # no list of names, and no name
    store.person("zoe")
    assert store.forget("zoe").dialogues == 1
    assert both not in store.dialogues() and alone in store.dialogues() and len(store.dialogues()) == 2
