"""Pairs and their losses, against numbers by hand."""

import math

import pytest
import torch

from dyngen_agents.functional.preferences import best_and_worst, preference_loss


def test_pairs_are_best_and_worst_of_a_group():
    returns = torch.tensor([0.0, 5.0, 2.0, 1.0, 1.0, 7.0, -1.0])
    groups = torch.tensor([3, 3, 1, 3, 0, 2, 1])  # 0 and 2 have one episode each
    assert best_and_worst(returns, groups).tolist() == [[2, 6], [1, 0]]


def test_more_pairs_of_a_group_go_on_inwards():
    returns, groups = torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0]), torch.zeros(5, dtype=torch.int64)
    assert best_and_worst(returns, groups, most=9).tolist() == [[4, 3], [2, 1]]
    assert best_and_worst(torch.tensor([1.0, 1, 1, 0]), groups[:4], most=9).tolist() == [[0, 3]]


def test_equal_returns_make_no_pair():
    assert best_and_worst(torch.ones(4), torch.tensor([0, 0, 1, 1])).shape == (0, 2)


def test_losses_by_hand():
    margins, differences = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.5])
    sigmoid = [math.log(2), math.log(1 + math.exp(-2))]
    assert preference_loss(margins, differences, "sigmoid").tolist() == pytest.approx(sigmoid)
    p = 1 / (1 + math.exp(-0.5))
    soft = [math.log(2), p * math.log(1 + math.exp(-2)) + (1 - p) * math.log(1 + math.exp(2))]
    assert preference_loss(margins, differences, "soft").tolist() == pytest.approx(soft)
    assert preference_loss(margins, differences, "squared").tolist() == pytest.approx([0.5, 0.5 * 1.5**2])


@pytest.mark.parametrize("kind", ["soft", "squared"])
def test_the_loss_is_least_where_the_margin_is_the_difference(kind):
    difference = torch.tensor([0.7])
    margin = difference.clone().requires_grad_()
    preference_loss(margin, difference, kind).sum().backward()
    assert float(margin.grad) == pytest.approx(0, abs=1e-6)
    assert preference_loss(difference + 0.1, difference, kind) > preference_loss(difference, difference, kind)
