"""Importance weights, by numbers worked out by hand."""

import pytest
import torch

from dyngen_agents.functional.importance import effective_share, truncated_importance


def test_a_choice_counts_by_how_much_likelier_it_has_become_up_to_the_cap():
    new, old = torch.tensor([[0.5, 0.2, 0.9, 0.3]]).log(), torch.tensor([[0.25, 0.4, 0.9, 0.001]]).log()
    torch.testing.assert_close(truncated_importance(new, old, 1.0), torch.tensor([[1.0, 0.5, 1.0, 1.0]]))
    torch.testing.assert_close(truncated_importance(new, old, 3.0), torch.tensor([[2.0, 0.5, 1.0, 3.0]]))
    assert float(truncated_importance(torch.zeros(1), torch.tensor([-1e4]), 5.0)) == pytest.approx(5.0)


def test_the_average_under_the_old_policy_is_that_under_the_new_one():
    """E_μ[ρ f] = E_π[f], where no weight reaches the cap."""
    pi, mu, f = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.5, 0.25, 0.25]), torch.tensor([1.0, -2.0, 4.0])
    weights = truncated_importance(pi.log(), mu.log(), 10.0)
    assert float((mu * weights * f).sum()) == pytest.approx(float((pi * f).sum()))


def test_equal_weights_are_all_of_use_and_one_alone_is_one():
    mask = torch.tensor([[True, True, True, False, True]])
    assert float(effective_share(torch.full((1, 5), 0.3), mask)) == pytest.approx(1.0)
    assert float(effective_share(torch.tensor([[9.0, 0.0, 0.0, 5.0, 0.0]]), mask)) == pytest.approx(1 / 4)
    assert float(effective_share(torch.tensor([[1.0, 3.0, 0.0, 5.0, 0.0]]), mask)) == pytest.approx(16 / (4 * 10))
