"""The KL penalty and its controllers, by hand arithmetic."""

import math

import pytest
import torch

from dyngen_agents.functional.kl_control import (
    AdaptiveKLController,
    FixedKLController,
    kl_penalised_rewards,
    later_kl_penalised_rewards,
)


def test_kl_penalised_rewards_by_hand():
    rewards = torch.tensor([[5.0, 0.0, 1.0]])
    logprobs = torch.tensor([[-9.0, -1.0, -2.0]], requires_grad=True)
    ref_logprobs = torch.tensor([[-1.0, -3.0, -1.5]])
    mask = torch.tensor([[False, True, True]])
    penalised = kl_penalised_rewards(rewards, logprobs, ref_logprobs, mask, coef=0.5)
    # 0 − ½ (−1 + 3) = −1 and 1 − ½ (−2 + 1.5) = 1.25; the prompt's entry is as it was
    assert penalised.tolist() == [[5.0, -1.0, 1.25]]
    assert not penalised.requires_grad


def test_equal_policies_pay_nothing():
    rewards, logprobs = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 4, dtype=torch.bool)
    assert torch.equal(kl_penalised_rewards(rewards, logprobs, logprobs, mask, coef=10.0), rewards)


@pytest.mark.parametrize(
    "kl, factor",
    [
        (6.0, 1.0),
        (6.6, 1.005),  # e = 0.1, n/H = 0.05
        (5.4, 0.995),
        (60.0, 1.01),  # e is clipped at 0.2
        (0.0, 0.99),
        (-3.0, 0.99),  # a sampled KL may be negative
    ],
)
def test_adaptive_coefficient_by_hand(kl, factor):
    controller = AdaptiveKLController(coef=0.15, target=6.0, horizon=10000)
    controller.update(kl, n_episodes=500)
    assert controller.coef == pytest.approx(0.15 * factor)


def test_adaptive_control_holds_the_target():
    """On a policy whose KL is 3/β, β settles at 3/target."""
    controller = AdaptiveKLController(coef=0.01, target=6.0, horizon=1000)
    for _ in range(500):
        controller.update(3 / controller.coef, n_episodes=200)
    assert controller.coef == pytest.approx(0.5, rel=1e-3)


def test_fixed_coefficient_stays():
    controller = FixedKLController(0.1)
    controller.update(100.0, n_episodes=500)
    assert controller.coef == 0.1


@pytest.mark.parametrize("make", [FixedKLController, lambda coef: AdaptiveKLController(coef, 6.0, 10000)])
def test_a_restored_controller_goes_on_alike(make):
    saved, restored = make(0.1), make(0.9)
    saved.update(9.0, n_episodes=300)
    restored.load_state_dict(saved.state_dict())
    for controller in (saved, restored):
        controller.update(2.0, n_episodes=300)
    assert restored.coef == saved.coef


@pytest.mark.parametrize("kl", [math.nan, math.inf])
def test_a_kl_that_is_not_finite_is_an_error(kl):
    controller = AdaptiveKLController(0.1, 6.0, 10000)
    with pytest.raises(ValueError, match="finite number of nats"):
        controller.update(kl, n_episodes=10)
    assert controller.coef == 0.1


def test_a_batch_beyond_the_horizon_is_an_error():
    controller = AdaptiveKLController(0.1, 6.0, horizon=100)
    with pytest.raises(ValueError, match=r"choose a horizon above 100\.0"):
        controller.update(0.0, n_episodes=500)


@pytest.mark.parametrize("coef", [-0.1, math.nan, math.inf])
def test_a_bad_coefficient_is_an_error(coef):
    with pytest.raises(ValueError, match="coef is"):
        FixedKLController(coef)
    with pytest.raises(ValueError, match="coef is"):
        AdaptiveKLController(coef, 6.0, 10000)


@pytest.mark.parametrize("target, horizon", [(0.0, 100.0), (6.0, 0.0), (-1.0, 100.0)])
def test_a_bad_target_or_horizon_is_an_error(target, horizon):
    with pytest.raises(ValueError, match="must be positive"):
        AdaptiveKLController(0.1, target, horizon)


def test_a_choice_pays_for_the_later_ones_only():
    rewards = torch.tensor([[5.0, 0.0, 7.0, 1.0], [0.0, 2.0, 0.0, 0.0]])
    logprobs = torch.tensor([[-9.0, -1.0, -9.0, -2.0], [-9.0, -1.0, -9.0, -9.0]])
    ref_logprobs = torch.tensor([[-1.0, -3.0, -1.0, -1.5], [-1.0, -4.0, -1.0, -1.0]])
    mask = torch.tensor([[False, True, False, True], [False, True, False, False]])
    # The first row's choice at 1 pays ½ (−2 + 1.5) = −0.25 for the next one, at 3, across a word of the user.
    penalised = later_kl_penalised_rewards(rewards, logprobs, ref_logprobs, mask, coef=0.5)
    assert penalised.tolist() == [[5.0, 0.25, 7.0, 1.0], [0.0, 2.0, 0.0, 0.0]]


def test_exact_and_sampled_kl_have_the_gradient_of_the_divergence_of_texts():
    """All nine texts of two tokens from three, weighted by their probabilities, instead of a sample."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(3, generator=generator), torch.randn(3, 3, generator=generator)
    parameters = (first.requires_grad_(), second.requires_grad_())
    ref_first, ref_second = torch.randn(3, generator=generator), torch.randn(3, 3, generator=generator)
    texts = torch.cartesian_prod(torch.arange(3), torch.arange(3))

    def logprobs_of(one, two):
        return torch.stack([one.log_softmax(0)[texts[:, 0]], two.log_softmax(1)[texts[:, 0], texts[:, 1]]], 1)

    logprobs, ref_logprobs = logprobs_of(*parameters), logprobs_of(ref_first, ref_second)
    weights = logprobs.sum(1).exp()
    true = torch.autograd.grad((weights * (logprobs - ref_logprobs).sum(1)).sum(), parameters, retain_graph=True)
    mask = torch.ones(9, 2, dtype=torch.bool)
    exact = torch.stack(
        [
            (first.softmax(0) * (first.log_softmax(0) - ref_first.log_softmax(0))).sum().expand(9),
            (second.softmax(1) * (second.log_softmax(1) - ref_second.log_softmax(1))).sum(1)[texts[:, 0]],
        ],
        1,
    )
    for penalised, loss in ((kl_penalised_rewards, torch.zeros(9, 2)), (later_kl_penalised_rewards, exact)):
        rewards = penalised(torch.zeros(9, 2), logprobs.detach(), ref_logprobs, mask, coef=1.0)
        returns = rewards.flip(1).cumsum(1).flip(1)
        surrogate = (weights.detach().unsqueeze(1) * (loss - returns * logprobs)).sum()
        found = torch.autograd.grad(surrogate, parameters, retain_graph=True)
        torch.testing.assert_close(found, true, atol=1e-6, rtol=1e-5)
