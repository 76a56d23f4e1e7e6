"""Trajectories: taking, joining and moving treats every field, those of tomorrow included."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from dyngen_agents.data.trajectories import Trajectories, join


def numbered(numbers) -> Trajectories:
    """Episodes whose every field says their number."""
    n = torch.tensor(numbers)
    rows = n[:, None].expand(-1, 3)
    made = {}
    for field in fields(Trajectories):
        if field.name in ("tokens", "completion_mask", "logprobs", "values", "rewards"):
            made[field.name] = rows.clone()
        elif field.name in ("bootstrap", "groups"):
            made[field.name] = n.clone()
        elif field.name == "reward_terms":
            made[field.name] = {"a": n.clone(), "b": 10 * n}
        else:
            made[field.name] = [f"{field.name} {number}" for number in numbers]
    return Trajectories(**made)


def assert_equal(ours: Trajectories, theirs: Trajectories):
    for field in fields(Trajectories):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if isinstance(a, Tensor):
            assert torch.equal(a, b), field.name
        elif isinstance(a, dict):
            assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a), field.name
        else:
            assert list(a) == list(b), field.name


def test_every_field_is_taken():
    assert_equal(numbered([5, 6, 7, 8]).take(torch.tensor([3, 0, 3])), numbered([8, 5, 8]))


def test_every_field_is_joined():
    assert_equal(join([numbered([1, 2]), numbered([3]), numbered([4])]), numbered([1, 2, 3, 4]))
    with pytest.raises(ValueError, match="no parts"):
        join([])


def test_every_tensor_is_moved():
    moved = numbered([1, 2]).to("meta")
    tensors = [x for x in vars(moved).values() if isinstance(x, Tensor)] + list(moved.reward_terms.values())
    assert len(tensors) == 7 + 2 and all(x.device.type == "meta" for x in tensors)
    assert_equal(numbered([1, 2]).to("cpu"), numbered([1, 2]))


def test_what_nobody_has_filled_in_stays_empty():
    whole = numbered([1, 2, 3])
    tensors = {name: x for name, x in vars(whole).items() if isinstance(x, Tensor)}
    taken = Trajectories(**tensors).take(torch.tensor([1]))
    assert taken.tokens.tolist() == [[2, 2, 2]]
    assert (taken.texts, taken.reward_terms) == ((), {})
    assert not join([taken, taken]).texts
