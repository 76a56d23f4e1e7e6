"""Who is who: cookies cannot be forged, pseudonyms cannot be taken, tokens are checked, rates are kept."""

import os
import stat
import time

import pytest

from dyngen_agents.feedback.page.access import Access, known_as, pseudonym, secret_of
from dyngen_agents.feedback.page.limits import Rate
from dyngen_agents.feedback.store import Person

SECRET = bytes(range(32))
ANNA, BOB = Person(1, "anna", 0.0), Person(2, "bob", 0.0)


def test_a_cookie_says_who_somebody_is_and_nobody_can_make_one():
    access = Access(SECRET)
    cookie = access.cookie(Person(7, "änne b", 0.0))
    assert access.person_of(cookie) == (7, "änne b")
    assert Access(SECRET).person_of(cookie) == (7, "änne b")  # the next process of the server
    name, until, signature = cookie.split(".")
    other = access.cookie(BOB).split(".")[0]
    for forged in (
        "", ".", "..", "a.b.c", cookie[:-1], cookie + "x", f"{other}.{until}.{signature}",
        f"{name}.{int(until) + 1}.{signature}", f"{name}.{until}.", "é.é.é",
    ):  # fmt: skip
        assert access.person_of(forged) is None
    for stranger in (Access(bytes(32)), Access(SECRET, "another token")):
        assert stranger.person_of(cookie) is None and stranger.csrf(cookie) != access.csrf(cookie)


def test_an_old_cookie_does_not_count(monkeypatch):
    access = Access(SECRET)
    cookie = access.cookie(ANNA)
    now = time.time()
    monkeypatch.setattr("dyngen_agents.feedback.page.access.time.time", lambda: now + 31 * 86400)
    assert access.person_of(cookie) is None


def test_token_and_code():
    access = Access(SECRET, "correct horse")
    assert access.asks_for_token and access.admits("correct horse")
    assert not any(access.admits(wrong) for wrong in ("", "correct hors", "correct horse ", "\ud800"))
    assert Access(SECRET).admits("")
    code = access.code(ANNA)
    assert access.is_code(ANNA, code) and access.is_code(ANNA, f" {code.upper().replace('-', ' ')} ")
    assert not access.is_code(BOB, code) and not access.is_code(ANNA, "") and code != access.code(BOB)
    assert not access.is_code(Person(3, "anna", 0.0), code)  # somebody else, once the first one was forgotten


def test_pseudonyms_have_one_spelling():
    assert pseudonym("  ann\n a ") == "ann a" and pseudonym("ﬁnn") == "finn"
    assert pseudonym("") != pseudonym("") and pseudonym(" ").isprintable()
    for wrong in ("x" * 41, "a\u202eb", "a\x00b", "\ud800"):
        with pytest.raises(ValueError, match="pseudonym"):
            pseudonym(wrong)


def test_a_name_in_other_capitals_is_the_same_persons():
    names = ["Ada", "ada  lovelace", "ADA", "x" * 100]
    assert [known_as(given, names) for given in ("Ada", "ADA", "ada", " Ada  Lovelace", "X" * 100, "eve", "")] == [
        "Ada", "ADA", "Ada", "ada  lovelace", "x" * 100, None, None
    ]  # fmt: skip


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path):
    store = tmp_path / "feedback.db"
    secret = secret_of(store)
    assert len(secret) == 32 and secret_of(store) == secret
    assert stat.S_IMODE(os.stat(tmp_path / "feedback.db.key").st_mode) == 0o600
    (tmp_path / "feedback.db.key").write_bytes(b"short")
    with pytest.raises(ValueError, match="5 bytes, expected the 32"):
        secret_of(store)


def test_a_bucket_empties_and_fills_again():
    now = [0.0]
    rate = Rate(per_second=2, burst=3, clock=lambda: now[0])
    assert [rate.wait("a") for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert rate.wait("b") == 0  # another person's
    now[0] = 0.5
    assert [rate.wait("a"), rate.wait("a")] == [0, 0.5]
    now[0] = 1000.0
    assert [rate.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]  # never more than the burst
