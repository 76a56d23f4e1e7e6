"""Versions of what was learned, in a folder or without one."""

import pytest
import torch

from dyngen_agents.feedback.live.versions import RECORD, Version, Versions
from tests.support.rated_turns import rated_turn

BASE = {"w": torch.zeros(2)}


def made(folder):
    versions = Versions(folder, "model a", BASE, 0.0)
    for number in (1, 2):
        versions.save(f"v{number}", {"w": torch.full((2,), float(number))})
        versions.add(Version(f"v{number}", float(number), (number,), (f"f{number}",), 1.5, 0.1, f"v{number - 1}"))
    return versions


def test_a_version_knows_what_it_and_those_before_it_have_read():
    versions = made(None)
    turns = [rated_turn(n, rating=r) for n, r in ((3, None), (4, 2.0), (5, -1.0))]
    versions.use("v1")
    later = versions.next(turns[1:], turns, 0.2)  # the first was read in an earlier update
    assert (later.name, later.turns, later.mean_rating, later.kl, later.before) == ("v3", (4, 5), 0.5, 0.2, "v1")
    assert sorted(versions.known_to(later)) == ["f1", "f3", "f4", "f5"]


@pytest.mark.parametrize("saved", [False, True])
def test_any_version_can_be_used_again(saved, tmp_path):
    versions = made(tmp_path if saved else None)
    versions.use("v1")
    assert versions.current == "v1"
    assert [versions.weights(v.name)["w"].tolist() for v in versions.all] == [[0, 0], [1, 1], [2, 2]]
    assert versions.next([], [], 0.0).name == "v3"  # no name twice
    with pytest.raises(KeyError, match="v0, v1, v2"):
        versions.use("v7")


def test_a_folder_is_read_again_as_it_was(tmp_path):
    before = made(tmp_path)
    before.use("v1")
    before.take_back([2, "x"])
    after = Versions(tmp_path, "model a", BASE, 9.0)
    assert (after.all, after.current, after.taken_back) == (before.all, "v1", {2, "x"})
    assert torch.equal(after.weights("v2")["w"], torch.full((2,), 2.0))


def test_versions_of_another_model_are_refused(tmp_path):
    made(tmp_path)
    with pytest.raises(ValueError, match="versions of another model"):
        Versions(tmp_path, "model b", BASE, 0.0)


def test_the_record_is_replaced_as_a_whole(tmp_path):
    made(tmp_path)
    (tmp_path / (RECORD + ".new")).write_text("{ half", encoding="utf-8")  # a process died while it wrote
    assert Versions(tmp_path, "model a", BASE, 0.0).current == "v2"
