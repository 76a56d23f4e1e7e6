"""Returns and advantages against hand arithmetic, a loop over transitions, and identities."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dyngen_agents.data.batching import explained_variance
from dyngen_agents.functional.returns import (
    batch_baseline,
    discounted_returns,
    gae,
    group_centred,
    group_normalised,
    has_spread,
    masked_mean,
    masked_whiten,
    rebn,
    returns_to_go,
    rloo_baseline,
    segment_advantages,
)


def batch(seed: int, n: int = 5, length: int = 12) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random rewards, values, bootstrap and mask; row 0 is all the agent's, row 1 none of it."""
    rng = np.random.default_rng(seed)
    rewards, values = (torch.tensor(rng.normal(size=(n, length)), dtype=torch.float32) for _ in range(2))
    bootstrap = torch.tensor(rng.normal(size=n), dtype=torch.float32)
    mask = torch.tensor(rng.random((n, length)) < 0.6)
    mask[0], mask[1] = True, False
    return rewards, values, bootstrap, mask


def gae_by_definition(rewards, values, bootstrap, mask, gamma, gae_lambda):
    """Schulman et al. 2016, eq. 16, as the double sum it is, in float64, over each row's own choices."""
    advantages = np.zeros(rewards.shape)
    for n in range(len(rewards)):
        chosen = np.flatnonzero(mask[n])
        r, v = rewards[n].double().numpy()[chosen], values[n].double().numpy()[chosen]
        v_next = np.append(v, bootstrap[n].item())[1:]
        deltas = r + gamma * v_next - v
        for t, p in enumerate(chosen):
            advantages[n, p] = sum((gamma * gae_lambda) ** k * d for k, d in enumerate(deltas[t:]))
    return torch.tensor(advantages, dtype=torch.float32)


def test_gae_by_hand():
    """Two choices, then two words of the user, then a choice; γ = 0.5, λ = 0.5, bootstrap 8."""
    rewards = torch.tensor([[9.0, 1.0, 2.0, 9.0, 9.0, 4.0, 9.0]])
    values = torch.tensor([[9.0, 2.0, 4.0, 9.0, 9.0, 6.0, 9.0]])
    mask = torch.tensor([[False, True, True, False, False, True, False]])
    advantages, returns = gae(rewards, values, torch.tensor([8.0]), mask, gamma=0.5, gae_lambda=0.5)
    # δ₃ = 4 + 4 − 6 = 2, δ₂ = 2 + 3 − 4 = 1, δ₁ = 1 + 2 − 2 = 1
    # A₃ = 2, A₂ = 1 + 2/4 = 1.5, A₁ = 1 + 1.5/4 = 1.375
    assert advantages.tolist() == [[0.0, 1.375, 1.5, 0.0, 0.0, 2.0, 0.0]]
    assert returns.tolist() == [[0.0, 3.375, 5.5, 0.0, 0.0, 8.0, 0.0]]


@pytest.mark.parametrize("gamma, gae_lambda", [(1.0, 0.95), (0.9, 0.5), (0.99, 1.0), (0.7, 0.0), (0.0, 0.9)])
def test_gae_equals_its_definition(gamma, gae_lambda):
    rewards, values, bootstrap, mask = batch(seed=0)
    advantages, returns = gae(rewards, values, bootstrap, mask, gamma, gae_lambda)
    expected = gae_by_definition(rewards, values, bootstrap, mask, gamma, gae_lambda)
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, torch.where(mask, expected + values, 0.0))


def test_gae_with_lambda_one_is_the_return_minus_the_value():
    rewards, values, bootstrap, mask = batch(seed=1)
    advantages, returns = gae(rewards, values, bootstrap, mask, gamma=0.9, gae_lambda=1.0)
    to_go = returns_to_go(rewards, bootstrap, mask, gamma=0.9)
    torch.testing.assert_close(advantages, torch.where(mask, to_go - values, 0.0))
    torch.testing.assert_close(returns, to_go)


def test_gae_with_lambda_zero_is_the_one_step_error():
    rewards, values, bootstrap, _ = batch(seed=2)
    everywhere = torch.ones_like(rewards, dtype=torch.bool)
    advantages, _ = gae(rewards, values, bootstrap, everywhere, gamma=0.9, gae_lambda=0.0)
    next_values = torch.cat([values[:, 1:], bootstrap[:, None]], dim=1)
    torch.testing.assert_close(advantages, rewards + 0.9 * next_values - values)


def test_advantages_between_valued_states_by_hand():
    """Choices at 1, 2, 4 and 5, paid 1, 2, 0 and 3; V(s₁) = 0.5 and V(s₄) = 4. What is no choice is not read."""
    nan = torch.nan
    rewards = torch.tensor([[nan, 1.0, 2.0, nan, 0.0, 3.0, nan]])
    values = torch.tensor([[nan, 0.5, nan, nan, 4.0, nan, nan]])
    mask = torch.tensor([[False, True, True, False, True, True, False]])
    advantages = segment_advantages(rewards, values, mask & ~values.isnan(), mask)
    # 1 + 2 + 4 − 0.5 for the first two, 0 + 3 + 0 − 4 for the others
    assert advantages.tolist() == [[0.0, 6.5, 6.5, 0.0, -1.0, -1.0, 0.0]]


def test_advantages_between_states_that_are_all_valued_are_the_one_step_errors():
    rewards, values, bootstrap, mask = batch(seed=4)
    expected, _ = gae(rewards, values, torch.zeros_like(bootstrap), mask, gamma=1.0, gae_lambda=0.0)
    torch.testing.assert_close(segment_advantages(rewards, values, mask, mask), expected, atol=1e-5, rtol=0)


@given(seed=st.integers(0, 2**32 - 1), left=st.integers(0, 5), right=st.integers(0, 5))
def test_padding_changes_nothing(seed, left, right):
    """Not even padding of NaN."""
    rewards, values, bootstrap, mask = batch(seed)

    def padded(x: Tensor, fill: float) -> Tensor:
        return torch.nn.functional.pad(x, (left, right), value=fill)

    inside = slice(left, left + rewards.shape[1])
    nan_rewards, nan_values = padded(rewards, torch.nan), padded(values, torch.nan)
    wide_mask = padded(mask, False)
    expected = gae(rewards, values, bootstrap, mask, 0.9, 0.95)
    for wide, narrow in zip(gae(nan_rewards, nan_values, bootstrap, wide_mask, 0.9, 0.95), expected, strict=True):
        assert torch.equal(wide[:, inside], narrow)
        assert wide.sum() == pytest.approx(narrow.sum().item(), abs=1e-4)  # zero in the padding
    to_go = returns_to_go(nan_rewards, bootstrap, wide_mask, 0.9)[:, inside]
    assert torch.equal(to_go, returns_to_go(rewards, bootstrap, mask, 0.9))


def test_what_the_agent_did_not_choose_never_contributes():
    rewards, values, bootstrap, mask = batch(seed=3)
    poisoned = [torch.where(mask, x, torch.nan) for x in (rewards, values)]
    for clean, dirty in zip(
        gae(rewards, values, bootstrap, mask, 0.9, 0.95),
        gae(*poisoned, bootstrap, mask, 0.9, 0.95),
        strict=True,
    ):
        assert torch.equal(clean, dirty)
        assert (clean[~mask] == 0).all()
    for function in (masked_whiten, rebn):
        assert torch.equal(function(rewards, mask), function(poisoned[0], mask))
        assert (function(rewards, mask)[~mask] == 0).all()


def test_rows_are_independent():
    rewards, values, bootstrap, mask = batch(seed=4)
    together = gae(rewards, values, bootstrap, mask, 0.9, 0.95)
    for n in range(len(rewards)):
        row = slice(n, n + 1)
        alone = gae(rewards[row], values[row], bootstrap[row], mask[row], 0.9, 0.95)
        assert all(torch.equal(a, b[row]) for a, b in zip(alone, together, strict=True))


def test_the_advantage_crosses_a_cut():
    """A segment whose bootstrap is V′ + λÂ′ of its continuation equals the uncut episode."""
    rewards, values, bootstrap, mask = batch(seed=5)
    mask[:, 6] = True  # the continuation starts with a choice
    whole, _ = gae(rewards, values, bootstrap, mask, 0.9, 0.95)
    second, _ = gae(rewards[:, 6:], values[:, 6:], bootstrap, mask[:, 6:], 0.9, 0.95)
    carried = values[:, 6] + 0.95 * second[:, 0]
    first, _ = gae(rewards[:, :6], values[:, :6], carried, mask[:, :6], 0.9, 0.95)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


def test_returns_to_go_by_hand():
    rewards = torch.tensor([[9.0, 1.0, 9.0, 2.0, 4.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[False, True, False, True, True], [True] * 5])
    returns = returns_to_go(rewards, torch.tensor([8.0, 0.0]), mask, gamma=0.5)
    assert returns.tolist() == [[0.0, 4.0, 0.0, 6.0, 8.0], [1.0, 0.0, 0.0, 0.0, 0.0]]


def test_masked_mean():
    x = torch.tensor([[1.0, 2.0, 9.0], [6.0, torch.nan, torch.inf]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_mean(x, mask) == 3.0
    with pytest.raises(ValueError, match="True at 0 of 6 entries, need at least 1"):
        masked_mean(x, torch.zeros_like(mask))


def test_masked_whiten_by_hand():
    """Mean 4 and population variance ((-3)² + 1² + 2²)/3 = 14/3."""
    x = torch.tensor([[1.0, 5.0, 99.0, 6.0]])
    mask = torch.tensor([[True, True, False, True]])
    deviation = (14 / 3) ** 0.5
    expected = torch.tensor([[-3.0, 1.0, 0.0, 2.0]]) / deviation
    torch.testing.assert_close(masked_whiten(x, mask), expected)
    torch.testing.assert_close(masked_whiten(x, mask, shift_mean=False), expected + 4.0 * mask)


def test_masked_whiten_of_one_value_is_zero():
    assert masked_whiten(torch.tensor([3.0, 5.0]), torch.tensor([True, False])).tolist() == [0.0, 0.0]


def test_rebn_by_hand():
    """Mean 4 and sample variance 14/2."""
    returns = torch.tensor([[1.0, 5.0], [99.0, 6.0]])
    mask = torch.tensor([[True, True], [False, True]])
    expected = torch.tensor([[-3.0, 1.0], [0.0, 2.0]]) / 7**0.5
    torch.testing.assert_close(rebn(returns, mask), expected)


@pytest.mark.parametrize("value", [0.1, -0.7, 1e6])
def test_equal_returns_teach_nothing(value):
    """Rounding of their mean must not be blown up by a tiny deviation."""
    returns = torch.full((7, 11), value)
    assert (rebn(returns, torch.ones_like(returns, dtype=torch.bool)) == 0).all()
    groups = torch.zeros(7, dtype=torch.int64)
    assert (group_normalised(torch.full((7,), value), groups) == 0).all()


def test_rebn_needs_two_transitions():
    with pytest.raises(ValueError, match="need at least 2"):
        rebn(torch.ones(2), torch.tensor([True, False]))


def test_batch_baseline_is_the_mean():
    assert batch_baseline(torch.tensor([1.0, 2.0, 6.0])).tolist() == [3.0, 3.0, 3.0]


# Two prompts, interleaved: 7 was played three times, 2 twice.
GROUPS = torch.tensor([7, 2, 7, 2, 7])
RETURNS = torch.tensor([1.0, 10.0, 2.0, 20.0, 6.0])


def test_rloo_baseline_by_hand():
    assert rloo_baseline(RETURNS, GROUPS).tolist() == [4.0, 20.0, 3.5, 10.0, 1.5]


def test_group_centred_by_hand():
    assert group_centred(RETURNS, GROUPS).tolist() == [-2.0, -5.0, -1.0, 5.0, 3.0]


def test_groups_with_spread_by_hand():
    returns = torch.tensor([0.1, 2.0, 0.1, 2.1, 0.1])
    assert has_spread(returns, GROUPS).tolist() == [False, True, False, True, False]
    assert has_spread(returns * torch.nan, GROUPS).all()


def test_group_normalised_by_hand():
    """Group 7: mean 3, sample variance 14/2. Group 2: mean 15, sample variance 50."""
    deviations = torch.tensor([7**0.5, 50**0.5, 7**0.5, 50**0.5, 7**0.5])
    expected = torch.tensor([-2.0, -5.0, -1.0, 5.0, 3.0]) / (deviations + 1e-4)
    torch.testing.assert_close(group_normalised(RETURNS, GROUPS), expected)


def test_group_centred_is_rloo_scaled():
    rng = np.random.default_rng(0)
    returns = torch.tensor(rng.normal(size=24), dtype=torch.float32)
    groups = torch.tensor(rng.permutation(24) % 6)  # six groups of four
    torch.testing.assert_close(group_centred(returns, groups), (returns - rloo_baseline(returns, groups)) * (3 / 4))


@pytest.mark.parametrize("function", [rloo_baseline, group_centred, group_normalised, has_spread])
def test_a_group_of_one_is_an_error(function):
    with pytest.raises(ValueError, match=r"groups \[5\] have one episode each"):
        function(torch.ones(3), torch.tensor([4, 5, 4]))


@pytest.mark.parametrize("value", [1000.7, -1000.7, 1e6, 0.1, 0.0])
@pytest.mark.parametrize("count", [2, 7, 1000])
def test_equal_numbers_whiten_to_nothing(value, count):
    """The mean of equal floats may be another float; whitening divides that error by 10⁻⁴."""
    x, mask = torch.full((count,), value), torch.ones(count, dtype=torch.bool)
    assert (masked_whiten(x, mask) == 0).all()
    assert (masked_whiten(x, mask, shift_mean=False) == x).all()
    assert explained_variance(torch.zeros(count), x, mask) == 0.0


def test_small_differences_of_large_numbers_are_whitened_as_in_float64():
    generator = torch.Generator().manual_seed(0)
    x, mask = 1000.7 + 0.01 * torch.randn(200, generator=generator), torch.ones(200, dtype=torch.bool)
    exact = x.double()
    expected = (exact - exact.mean()) / (exact.var(correction=0) + 1e-8).sqrt()
    torch.testing.assert_close(masked_whiten(x, mask).double(), expected, atol=1e-4, rtol=0)
    assert explained_variance(x - 0.01, x, mask) == pytest.approx(1.0, abs=1e-3)


def test_discounted_returns_by_hand():
    """Choices at 1, 3 and 4, γ = 0.5: 8 + 4/2 + 2/4; the user's words are no steps."""
    rewards = torch.tensor([[0.0, 8.0, 0.0, 4.0, 2.0], [0.0, 0.0, 0.0, 0.0, 3.0]])
    mask = torch.tensor([[False, True, False, True, True], [False, False, False, False, True]])
    assert discounted_returns(rewards, mask, 0.5).tolist() == [10.5, 3.0]
    assert torch.equal(discounted_returns(rewards, mask, 1.0), rewards.sum(1))


def test_discounted_returns_are_the_first_returns_to_go():
    rewards, _, _, mask = batch(seed=7)
    to_go = returns_to_go(rewards, torch.zeros(len(rewards)), mask, 0.9)
    for n, row in enumerate(mask):
        first = to_go[n, row.nonzero()[0, 0]] if row.any() else torch.tensor(0.0)
        torch.testing.assert_close(discounted_returns(rewards * mask, mask, 0.9)[n], first)
