"""Every algorithm learns a trivial task in seconds: write vowels. One line each."""

import copy

import pytest

from dyngen_agents.algorithms.grpo import GRPO, GRPOConfig
from dyngen_agents.algorithms.ppo import PPO, PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCE, REINFORCEConfig
from dyngen_agents.data.shared_rollout import collect_together
from dyngen_agents.policy.reference import Reference
from tests.support.small import small_env, small_policy

FAST = dict(warmup_steps=0, kl_coef=0.0)
LEARNERS = {
    "ppo": lambda *a: PPO(*a, PPOConfig(**FAST, learning_rate=3e-3, minibatch_size=32, epochs=2)),
    "reinforce-rebn": lambda *a: REINFORCE(*a, REINFORCEConfig(**FAST, learning_rate=1e-2, baseline="rebn")),
    "reinforce-batch": lambda *a: REINFORCE(*a, REINFORCEConfig(**FAST, learning_rate=1e-2, baseline="batch")),
    "reinforce-rloo": lambda *a: REINFORCE(
        *a, REINFORCEConfig(**FAST, learning_rate=1e-2, baseline="rloo", group_size=4)
    ),
    "grpo": lambda *a: GRPO(*a, GRPOConfig(**FAST, learning_rate=3e-3, minibatch_size=32, group_size=4)),
    "reinforce-none": lambda *a: REINFORCE(*a, REINFORCEConfig(**FAST, learning_rate=1e-2, baseline="none")),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_learns_to_write_vowels(name):
    env = small_env(64)
    policy = small_policy(env, spread=0.1)
    learner = LEARNERS[name](policy, Reference(copy.deepcopy(policy.lm), policy.distribution))
    group_size = getattr(learner.config, "group_size", 1)
    rewards = []
    for update in range(18):
        batch = collect_together(env, learner.actor, 64, seed=64 * update, actor_seed=update, group_size=group_size)
        rewards.append(float(batch.episode_returns.mean()))
        learner.update(batch)
    start, end = sum(rewards[:2]) / 2, sum(rewards[-3:]) / 3
    assert start < 0.1, "chance is 5/260 of the letters"
    assert end > 0.6, f"{name}: {start:.2f} -> {end:.2f}"
