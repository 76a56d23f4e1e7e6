"""What must hold of the policy-gradient algorithms whatever the task."""

import copy
import dataclasses

import pytest
import torch

from dyngen_agents.algorithms.grpo import GRPO
from dyngen_agents.algorithms.ppo import PPO, PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCE, REINFORCEConfig
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.reference import Reference
from tests.support.small import small_env, small_lm, small_policy


@pytest.fixture
def batch_and_policy():
    env = small_env()
    policy = small_policy(env)
    batch = collect(env, Actor(policy, seed=1), 32, seed=0)
    return dataclasses.replace(batch, groups=torch.arange(32) // 8), policy


def gradient(algorithm, batch):
    """The gradient of the first step of `update`, before clipping; no step is taken."""
    found = []

    def keep():
        found.append([p.grad.clone() if p.grad is not None else None for p in algorithm.common.optimizer.parameters])
        algorithm.common.optimizer.adam.zero_grad(set_to_none=True)
        return 0.0

    algorithm.common.optimizer.step = keep
    algorithm.update(batch)
    return found[0]


def test_ppos_first_gradient_is_reinforces(batch_and_policy):
    """At ratio one the clipped surrogate has the gradient of A log π (whitened returns, no critic, no KL)."""
    batch, policy = batch_and_policy
    reference = Reference(copy.deepcopy(policy.lm), policy.distribution)
    whole = dict(minibatch_size=32, kl_coef=0.0)
    ppo = PPO(policy, reference, PPOConfig(epochs=1, vf_coef=0.0, gae_lambda=1.0, **whole))
    rebn = REINFORCE(policy, reference, REINFORCEConfig(baseline="rebn", **whole))
    theirs = gradient(rebn, batch)
    ours = gradient(ppo, batch)[: len(theirs)]
    n = int(batch.completion_mask.sum())
    for a, b in zip(ours, theirs, strict=True):  # ReBN divides by the deviation with n - 1, whitening by that with n
        torch.testing.assert_close(a, b * ((n / (n - 1)) ** 0.5), atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("algorithm", [PPO, REINFORCE, GRPO])
def test_the_gradient_does_not_depend_on_the_split_or_the_padding(algorithm, batch_and_policy):
    batch, policy = batch_and_policy
    reference = Reference(small_lm(seed=5).eval(), policy.distribution)
    config = algorithm.Config(minibatch_size=32)
    whole = gradient(algorithm(policy, reference, config), batch)
    pieces = gradient(algorithm(policy, reference, dataclasses.replace(config, max_tokens=40)), batch)
    padded = {
        name: torch.nn.functional.pad(getattr(batch, name), (0, 9), value=-1 if name == "tokens" else 0)
        for name in ("tokens", "completion_mask", "logprobs", "values", "rewards")
    }
    wide = gradient(algorithm(policy, reference, config), dataclasses.replace(batch, **padded))
    for a, b, c in zip(whole, pieces, wide, strict=True):
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
            torch.testing.assert_close(a, c, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("algorithm", [PPO, REINFORCE])
def test_kl_is_zero_against_oneself_and_pushes_back_when_one_has_moved(algorithm, batch_and_policy):
    batch, policy = batch_and_policy
    frozen = copy.deepcopy(policy.lm)
    metrics = algorithm(policy, Reference(frozen, policy.distribution)).update(batch)
    assert abs(metrics["kl"]) < 1e-4
    # With nothing to gain, the penalty alone must bring the policy nearer to the reference.
    still = dataclasses.replace(batch, rewards=torch.zeros_like(batch.rewards))
    other = Reference(small_lm(seed=5).eval(), policy.distribution)
    rate = 1e-2 if algorithm is REINFORCE else 3e-3  # the others take two steps an update
    config = algorithm.Config(learning_rate=rate, warmup_steps=0, kl_coef=1.0, minibatch_size=32)
    learner = algorithm(policy, other, config)
    kls = [learner.update(still)["kl"]]
    env = small_env()
    for update in range(8):
        played = collect(env, learner.actor(update), 32, seed=0)
        kls.append(learner.update(dataclasses.replace(played, rewards=torch.zeros_like(played.rewards)))["kl"])
    assert sum(kls[-2:]) / 2 < 0.9 * kls[0]


def test_ppo_starts_from_ratio_one(batch_and_policy):
    batch, policy = batch_and_policy
    config = PPOConfig(epochs=1, minibatch_size=32)
    metrics = PPO(policy, Reference(policy.lm, policy.distribution), config).update(batch)
    assert metrics["approx_kl"] < 1e-9 and metrics["clip_fraction"] == 0


def test_nan_rewards_stop_before_any_weight_changes(batch_and_policy):
    batch, policy = batch_and_policy
    rewards = batch.rewards.clone()
    rewards[batch.completion_mask.nonzero()[0].split(1)] = float("nan")
    for algorithm in (PPO, REINFORCE, GRPO):
        before = [p.detach().clone() for p in policy.parameters()]
        learner = algorithm(policy, Reference(policy.lm, policy.distribution))
        with pytest.raises(FloatingPointError, match="norm is nan"):
            learner.update(dataclasses.replace(batch, rewards=rewards))
        assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


def test_adaptive_kl_is_used(batch_and_policy):
    batch, policy = batch_and_policy
    learner = PPO(
        policy,
        Reference(small_lm(seed=5).eval(), policy.distribution),
        PPOConfig(kl_coef=0.05, kl_target=0.01, kl_horizon=100),
    )
    learner.update(batch)
    assert learner.common.kl_control.coef == pytest.approx(0.05 * (1 + 0.2 * 32 / 100))


def test_rloo_needs_groups():
    with pytest.raises(ValueError, match="group_size is 1"):
        REINFORCEConfig(baseline="rloo")


@pytest.mark.parametrize("algorithm", [PPO, REINFORCE, GRPO])
def test_the_entropy_bonus_reaches_the_gradient(algorithm, batch_and_policy):
    batch, policy = batch_and_policy
    reference = Reference(policy.lm, policy.distribution)
    without, with_bonus = (
        gradient(algorithm(policy, reference, algorithm.Config(minibatch_size=32, ent_coef=c)), batch)
        for c in (0.0, 0.5)
    )
    assert not torch.allclose(without[0], with_bonus[0])


@pytest.mark.parametrize(("baseline", "expected"), [("batch", [0.5, 0.5]), ("rloo", [0.0, 1.0])])
def test_a_baseline_is_discounted_as_the_returns_are(batch_and_policy, baseline, expected):
    """γ = 0.5. Episodes of two choices, paid 0 and then 2, 0 and then 0: G₀ is 1 and 0, of mean 0.5."""
    batch, policy = batch_and_policy
    config = REINFORCEConfig(baseline=baseline, gamma=0.5, group_size=2)
    learner = REINFORCE(policy, Reference(policy.lm, policy.distribution), config)
    mask = torch.tensor([[False, True, True]] * 2)
    rewards = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    two = dataclasses.replace(batch.take(torch.tensor([0, 1])), completion_mask=mask, bootstrap=torch.zeros(2))
    two = dataclasses.replace(two, groups=torch.zeros(2, dtype=torch.int64))
    advantages = learner.advantages(rewards, two)
    returns = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    assert torch.equal(advantages[:, 1:], returns - torch.tensor(expected)[:, None])
