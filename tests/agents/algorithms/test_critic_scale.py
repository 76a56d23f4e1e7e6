"""With `scale_values` PPO learns the same from rewards of any size; without, it is what it was."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from dyngen_agents.algorithms.critic_scale import CriticScale
from dyngen_agents.algorithms.ppo import PPO, PPOConfig
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.reference import Reference
from dyngen_agents.policy.value_head import ValueHead
from tests.support.small import small_env, small_policy


def trained(size: float, updates: int = 3, **settings):
    """The learner and its metrics after updates on rewards, and a KL penalty, of this size."""
    env = small_env()
    policy = small_policy(env)
    reference = Reference(copy.deepcopy(policy.lm), policy.distribution)
    config = PPOConfig(kl_coef=0.1 * size, learning_rate=3e-3, warmup_steps=0, minibatch_size=16, **settings)
    learner = PPO(policy, reference, config)
    metrics = [learner.update(played(learner, env, update, size)) for update in range(updates)]
    return learner, metrics


def played(learner, env, seed, size=1.0):
    batch = collect(env, learner.actor(seed), 32, seed=seed)
    return dataclasses.replace(batch, rewards=size * batch.rewards)


@pytest.mark.parametrize("size", [0.125, 1024.0])
def test_the_size_of_rewards_changes_nothing_but_the_unit_of_values(size):
    """Powers of two, so that not even rounding differs; but for the 1e-8 that whitening adds to a variance."""
    (ours, scaled), (plain, unit) = trained(size, scale_values=True), trained(1.0, scale_values=True)
    for a, b in zip(ours.policy.lm.parameters(), plain.policy.lm.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=0)  # three updates move weights by 2e-2
    for there, here in zip(scaled, unit, strict=True):
        assert there["value_mean"] == pytest.approx(size * here["value_mean"], rel=1e-3)
        for name in ("value_loss", "grad_norm", "explained_variance"):
            assert there[name] == pytest.approx(here[name], rel=1e-3, abs=1e-4), name


def test_without_it_the_critics_gradient_outweighs_the_policys():
    """The fault: the same two runs differ, since the gradient of the value loss grows with the rewards."""
    (_, scaled), (_, unit) = trained(1024.0), trained(1.0)
    assert scaled[0]["grad_norm"] > 10 * unit[0]["grad_norm"]


def test_the_critic_learns_rewards_a_hundred_times_as_large():
    """What a prompt pays is easy to know. Without `scale_values` the explained variance is 0.02 after ten updates."""
    pays = {"ab": 0.0, "hello": 100.0, "x": 200.0, "some longer words": 300.0}
    env = small_env(num_envs=64, reward=lambda text, prompt: pays[prompt] / 3)
    policy = small_policy(env, spread=0.2)
    reference = Reference(copy.deepcopy(policy.lm), policy.distribution)
    config = PPOConfig(scale_values=True, kl_coef=2.0, learning_rate=3e-3, minibatch_size=32)
    learner = PPO(policy, reference, config)
    for update in range(10):
        metrics = learner.update(collect(env, learner.actor(update), 64, seed=update))
    assert metrics["explained_variance"] > 0.5


def test_the_first_batch_gives_its_mean_to_all_values():
    """Hand arithmetic: two episodes, returns-to-go 3, 2 and 1, and 0 where nothing was chosen."""
    head, mask = ValueHead(4), torch.tensor([[False, True, True], [False, True, False]])
    rewards = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 0.0]])
    scale = CriticScale(head)
    values = scale.observe(torch.zeros(2, 3), rewards, torch.zeros(2), mask, gamma=1.0)
    torch.testing.assert_close(values, 2.0 * mask)
    assert float(head.mean) == pytest.approx(2) and float(head.std) == pytest.approx((2 / 3) ** 0.5)
    assert (head(torch.randn(3, 4)) == head.mean).all()


def test_the_moments_are_those_of_recent_batches_without_bias_to_zero():
    scale, generator = CriticScale(ValueHead(4)), np.random.default_rng(0)
    batches = [generator.normal(5 + i, 1 + i, size=200).astype("float32") for i in range(4)]
    for batch in batches:
        rewards = torch.from_numpy(batch).unsqueeze(1)
        scale.observe(rewards * 0, rewards, torch.zeros(200), torch.ones(200, 1, dtype=torch.bool), 1.0)
    weights = 0.9 ** np.arange(4)[::-1] / (0.9 ** np.arange(4)).sum()
    mean = sum(w * b.mean() for w, b in zip(weights, batches, strict=True))
    square = sum(w * (b.astype("float64") ** 2).mean() for w, b in zip(weights, batches, strict=True))
    assert scale.moments() == pytest.approx((mean, (square - mean**2) ** 0.5), rel=1e-5)


@pytest.mark.parametrize("reward", [0.0, 0.3, 1e6])
def test_equal_returns_have_no_deviation_to_divide_by(reward):
    scale = CriticScale(ValueHead(4))
    rewards = torch.full((8, 1), reward)
    scale.observe(rewards * 0, rewards, torch.zeros(8), torch.ones(8, 1, dtype=torch.bool), 1.0)
    assert scale.moments() == (pytest.approx(reward), 1.0)


def test_stopped_and_resumed_equals_never_stopped():
    whole, _ = trained(10.0, updates=4, scale_values=True)
    half, _ = trained(10.0, updates=2, scale_values=True)
    env = small_env()
    policy = small_policy(env)
    policy.lm.load_state_dict(half.policy.lm.state_dict())
    reference = Reference(small_policy(env).lm, policy.distribution)
    resumed = PPO(policy, reference, half.config)
    resumed.load_state(half.state())
    for update in (2, 3):
        resumed.update(played(resumed, env, update, 10.0))
    for (name, a), b in zip(resumed.policy.state_dict().items(), whole.policy.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_head_that_was_saved_before_there_were_units_has_none():
    learner, _ = trained(1.0)
    state = learner.state()
    old = {name: x for name, x in state.tensors.items() if name not in ("value_head.mean", "value_head.std")}
    values = {name: x for name, x in state.values.items() if name != "critic_scale"}
    policy = small_policy(small_env())
    other = PPO(policy, Reference(policy.lm, policy.distribution), learner.config)
    other.load_state(type(state)(old, values))
    assert torch.equal(policy.value_head.weight, learner.policy.value_head.weight)
    assert (float(policy.value_head.mean), float(policy.value_head.std)) == (0, 1)
