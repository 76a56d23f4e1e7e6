"""Targets and losses of Q-learning against hand arithmetic, brute force and known minimisers."""

import math

import pytest
import torch

from dyngen_agents.functional.q_targets import conservative_loss, double_q_values, expectile_loss, next_values


def test_next_values_by_hand():
    """Row 0: the user's words stand between two choices. Row 1 was cut off."""
    mask = torch.tensor([[0, 1, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0, 0]]).bool()
    values = torch.tensor([[0, 5, 0, 0, 6, 7, 0], [0, 2, 3, 0, 0, 0, 0]]).float()
    following = next_values(values, torch.tensor([0.0, 9.0]), mask)
    assert following.tolist() == [[0, 6, 0, 0, 7, 0, 0], [0, 3, 9, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("value", "target", "tau", "loss"), [(1.0, 3.0, 0.9, 0.9 * 4), (3.0, 1.0, 0.9, 0.1 * 4), (3.0, 1.0, 0.5, 2.0)]
)
def test_the_expectile_loss_by_hand(value, target, tau, loss):
    assert expectile_loss(torch.tensor(value), torch.tensor(target), tau).item() == pytest.approx(loss)


@pytest.mark.parametrize(("tau", "best"), [(0.5, 2.0), (0.9, 4.9), (0.999, 5.99)])
def test_its_minimum_is_the_expectile(tau, best):
    """Of 0, 0 and 6: τ (6 − v) = 2 (1 − τ) v, so v = 6τ/(2 − τ)."""
    assert 6 * tau / (2 - tau) == pytest.approx(best, abs=0.1)
    v = torch.tensor(6 * tau / (2 - tau), requires_grad=True)
    expectile_loss(v, torch.tensor([0.0, 0.0, 6.0]), tau).mean().backward()
    assert v.grad.item() == pytest.approx(0, abs=1e-5)


def test_the_conservative_loss_by_hand():
    q = torch.tensor([[math.log(1), math.log(3), -torch.inf], [0.0, 0.0, 0.0]])
    loss = conservative_loss(q, torch.tensor([1, 2]))
    assert loss.tolist() == pytest.approx([math.log(4 / 3), math.log(3)], abs=1e-6)


def test_double_q_chooses_by_one_and_values_by_the_other():
    online = torch.tensor([[1.0, 2.0, -torch.inf], [3.0, 0.0, 1.0]])
    target = torch.tensor([[7.0, 5.0, 100.0], [-1.0, 8.0, 9.0]])
    assert double_q_values(online, target).tolist() == [5.0, -1.0]
