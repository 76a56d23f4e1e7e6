"""What a pass over minibatches reports: among it, how far rollout and update disagree before the first step."""

import copy
import dataclasses
import logging

import pytest
import torch

from dyngen_agents.algorithms.grpo import GRPO
from dyngen_agents.algorithms.ppo import PPO, PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCE
from dyngen_agents.data.rollout import collect
from dyngen_agents.distributed.processes import Processes
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from tests.support.small import small_env, small_lm, small_policy


@pytest.fixture
def batch_and_policy():
    env = small_env()
    policy = small_policy(env)
    batch = collect(env, Actor(policy, seed=1), 32, seed=0)
    return dataclasses.replace(batch, groups=torch.arange(32) // 8), policy


@pytest.mark.parametrize("algorithm", [PPO, REINFORCE, GRPO])
def test_rollout_and_update_agree_within_rounding(algorithm, batch_and_policy, caplog):
    batch, policy = batch_and_policy
    metrics = algorithm(policy, Reference(policy.lm, policy.distribution)).update(batch)
    assert 0 <= metrics["rollout_mismatch"] <= metrics["rollout_mismatch_max"] < 1e-5
    assert not caplog.records


def test_a_rollout_that_computes_otherwise_is_measured_and_said_once(batch_and_policy, caplog):
    """One token in ten of every episode is off by half a nat; however many steps follow, the first minibatch counts."""
    batch, policy = batch_and_policy
    off = batch.completion_mask & (torch.arange(batch.tokens.shape[1]) % 10 == 7)
    wrong = dataclasses.replace(batch, logprobs=batch.logprobs - 0.5 * off)
    config = PPOConfig(minibatch_size=32, max_tokens=64, learning_rate=1e-2, warmup_steps=0)
    learner = PPO(policy, Reference(policy.lm, policy.distribution), config)
    with caplog.at_level(logging.WARNING):
        metrics = learner.update(wrong)
        learner.update(wrong)
    expected = 0.5 * int(off.sum()) / int(batch.completion_mask.sum())
    assert metrics["rollout_mismatch"] == pytest.approx(expected, abs=1e-5)
    assert metrics["rollout_mismatch_max"] == pytest.approx(0.5, abs=1e-5)
    assert [r.message for r in caplog.records if "rollout and update disagree" in r.message] == [caplog.messages[0]]


def test_processes_that_share_a_minibatch_report_its_mean_and_its_largest(batch_and_policy):
    """Two processes, one after the other, each told what the other has found."""
    batch, policy = batch_and_policy
    drift = torch.linspace(0, 1, batch.logprobs.numel()).view(batch.logprobs.shape) * batch.completion_mask
    wrong = dataclasses.replace(batch, logprobs=batch.logprobs + drift)
    told = []

    @dataclasses.dataclass(frozen=True)
    class Half(Processes):
        world_size: int = 2

        def exchange(self, value):
            if isinstance(value, tuple):
                told.append(value)
            return [value]

    for rank in (0, 1):
        frozen = Reference(small_lm(seed=5).eval(), policy.distribution)
        config = PPOConfig(minibatch_size=32, epochs=1)
        PPO(copy.deepcopy(policy), frozen, config, processes=Half(rank)).update(wrong)
    assert sum(total for total, _, _ in told) / int(batch.completion_mask.sum()) == pytest.approx(
        float(drift.sum() / batch.completion_mask.sum()), abs=1e-5
    )
    assert max(largest for _, largest, _ in told) == pytest.approx(float(drift.max()), abs=1e-5)


def test_in_bfloat16_they_differ_by_rounding_and_the_weights_stay_bfloat16(caplog):
    env = small_env()
    lm = small_lm(spread=0.1).bfloat16()
    policy = CausalLMPolicy(lm, env.token_distribution())
    learner = PPO(policy, Reference(copy.deepcopy(lm), policy.distribution), PPOConfig(learning_rate=1e-5))
    layers = [p for name, p in policy.lm.named_parameters() if ".h." in name and p.dim() > 1]
    before = [p.detach().clone() for p in layers]
    for update in range(3):
        metrics = learner.update(collect(env, learner.actor(update), 32, seed=update))
        assert 0 < metrics["rollout_mismatch"] < 0.03
    assert not caplog.records
    optimizer = learner.common.optimizer
    master_of = dict(zip(map(id, optimizer.parameters), optimizer.masters, strict=True))
    for old, new in zip(before, layers, strict=True):
        master = master_of[id(new)]
        assert new.dtype == torch.bfloat16 and torch.equal(new, master.bfloat16())
        assert (master != old).float().mean() > 0.99  # a rate of 1e-5 has moved them all
