"""The KL penalty and its controllers, by hand arithmetic."""

import math

import pytest
import torch

from dyngen_agents.functional.kl_control import AdaptiveKLController, FixedKLController, kl_penalised_rewards


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
