"""GRPO: advantages within groups by hand, each normalisation of the loss by brute force, groups without spread."""

import dataclasses

import pytest
import torch

from dyngen_agents.algorithms.grpo import GRPO, GRPOConfig
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.reference import Reference
from tests.support.small import small_env, small_lm, small_policy

EPISODES, GROUP = 12, 4


@pytest.fixture
def batch_and_policy():
    """Three groups of four; the second one's episodes all earn nothing."""
    env = small_env()
    policy = small_policy(env)
    batch = collect(env, Actor(policy, seed=1), EPISODES, seed=0)
    # The rows end after different numbers of choices.
    keep = batch.completion_mask.cumsum(1) <= 1 + torch.arange(EPISODES)[:, None] % 5
    mask = batch.completion_mask & keep
    tokens = torch.where(mask | ~batch.completion_mask, batch.tokens, -1)
    rewards = torch.zeros_like(batch.rewards)
    last = (torch.arange(tokens.shape[1]) * mask).argmax(1)
    rewards[torch.arange(EPISODES), last] = torch.tensor([0.0, 1, 2, 5, 0, 0, 0, 0, 3, 1, 1, 1])
    changed = dict(completion_mask=mask, tokens=tokens, rewards=rewards, groups=torch.arange(EPISODES) // GROUP)
    changed |= {name: getattr(batch, name) * mask for name in ("logprobs", "values")}
    return dataclasses.replace(batch, **changed), policy


def learner(policy, **settings):
    reference = Reference(small_lm(seed=5).eval(), policy.distribution)
    return GRPO(policy, reference, GRPOConfig(group_size=GROUP, **settings))


def gradients_of_steps(algorithm, batch):
    """The gradients of each step of `update`, before clipping; no step is taken."""
    found, optimizer = [], algorithm.common.optimizer

    def keep():
        found.append([p.grad.clone() for p in optimizer.parameters])
        optimizer.adam.zero_grad(set_to_none=True)
        return 0.0

    optimizer.step = keep
    return found, algorithm.update(batch)


def test_advantages_by_hand(batch_and_policy):
    """Returns 0, 1, 2, 5: mean 2, sample variance 14/3. 3, 1, 1, 1: mean 1.5, variance 1."""
    batch, policy = batch_and_policy
    centred = torch.tensor([-2.0, -1, 0, 3, 0, 0, 0, 0, 1.5, -0.5, -0.5, -0.5])
    deviations = torch.tensor([(14 / 3) ** 0.5] * 4 + [0.0] * 4 + [1.0] * 4)
    for scale, expected in (("std", centred / (deviations + 1e-4)), ("none", centred)):
        advantages = learner(policy, scale_rewards=scale).advantages(batch.rewards, batch)
        torch.testing.assert_close(advantages, expected[:, None] * batch.completion_mask)


@pytest.mark.parametrize("normalisation", ["sequence", "token", "constant"])
def test_each_normalisation_against_a_loop(batch_and_policy, normalisation):
    """At ratio one the loss is -A log π; the loop sums it episode by episode, token by token, in float64."""
    batch, policy = batch_and_policy
    algorithm = learner(policy, epochs=1, minibatch_size=EPISODES, kl_coef=0.0, loss_normalisation=normalisation)
    (found,), _ = gradients_of_steps(algorithm, batch)

    advantages = algorithm.advantages(batch.rewards, batch).double()
    logprobs = policy.evaluate(batch.tokens, batch.completion_mask).logprobs.double()
    learned = [i for i in range(EPISODES) if i // GROUP != 1]
    sums, lengths = [], []
    for i in learned:
        at = batch.completion_mask[i].nonzero().squeeze(1)
        sums.append(sum(-advantages[i, p] * logprobs[i, p] for p in at))
        lengths.append(len(at))
    assert len(set(lengths)) > 2
    match normalisation:
        case "sequence":
            loss = sum(s / n for s, n in zip(sums, lengths, strict=True)) / len(learned)
        case "token":
            loss = sum(sums) / sum(lengths)
        case "constant":
            loss = sum(sums) / (len(learned) * batch.tokens.shape[1])
    expected = torch.autograd.grad(loss, algorithm.common.optimizer.parameters)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_groups_without_spread_contribute_no_gradient(batch_and_policy):
    """With a KL penalty their penalised returns differ; still the gradient is that of the other groups alone."""
    batch, policy = batch_and_policy
    settings = dict(epochs=1, minibatch_size=EPISODES, kl_coef=0.5)
    (with_them,), metrics = gradients_of_steps(learner(policy, **settings), batch)
    assert metrics["left_out"] == pytest.approx(1 / 3)
    others = batch.take(torch.tensor([0, 1, 2, 3, 8, 9, 10, 11]))
    (without,), _ = gradients_of_steps(learner(policy, **settings), others)
    for a, b in zip(with_them, without, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_a_batch_without_spread_changes_nothing(batch_and_policy):
    batch, policy = batch_and_policy
    before = [p.detach().clone() for p in policy.parameters()]
    metrics = learner(policy).update(dataclasses.replace(batch, rewards=torch.zeros_like(batch.rewards)))
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))
    assert (metrics["left_out"], metrics["policy_loss"]) == (1, 0)
    assert metrics["entropy"] > 0 and "kl_per_token" in metrics


def test_the_ratio_is_one_in_the_first_minibatch(batch_and_policy):
    batch, policy = batch_and_policy
    metrics = learner(policy, epochs=1, minibatch_size=EPISODES).update(batch)
    assert metrics["approx_kl"] < 1e-9 and metrics["clip_fraction"] == 0


def test_clip_higher_lets_ratios_rise_further(batch_and_policy):
    """Old log-probs lower by log 1.25: with A > 0 ratios of 1.25 are clipped at 1.2, not at 1.28."""
    batch, policy = batch_and_policy
    behind = dataclasses.replace(batch, logprobs=(batch.logprobs - torch.tensor(1.25).log()) * batch.completion_mask)
    settings = dict(epochs=1, minibatch_size=EPISODES, kl_coef=0.0)
    for high, share in ((0.2, 1.0), (0.28, 0.0)):
        _, metrics = gradients_of_steps(learner(policy, clip_coef_high=high, **settings), behind)
        assert metrics["clip_fraction"] == share


def test_groups_must_divide_the_episodes(batch_and_policy):
    _, policy = batch_and_policy
    with pytest.raises(ValueError, match="episodes=10 is no multiple of group_size=4"):
        GRPO(policy, Reference(policy.lm, policy.distribution), GRPOConfig(group_size=4), episodes=10)
    with pytest.raises(ValueError, match="group_size is 1, expected a whole number of at least 2"):
        GRPOConfig(group_size=1)


def test_k3_is_in_the_loss_and_not_in_the_reward(batch_and_policy):
    """At ratio one the loss of a token is -A log π + β (s - 1 - log s), s = π_ref/π: summed in a loop, in float64."""
    batch, policy = batch_and_policy
    algorithm = learner(policy, epochs=1, minibatch_size=EPISODES, kl_coef=0.3, kl_estimator="k3")
    (found,), metrics = gradients_of_steps(algorithm, batch)

    unpenalised = algorithm.advantages(batch.rewards, batch).double()
    logprobs = policy.evaluate(batch.tokens, batch.completion_mask).logprobs.double()
    ref_logprobs = algorithm.common.reference.logprobs(batch.tokens, batch.completion_mask).double()
    terms = []
    for i, p in batch.completion_mask.nonzero().tolist():
        if i // GROUP != 1:
            log_s = ref_logprobs[i, p] - logprobs[i, p]
            terms.append(-unpenalised[i, p] * logprobs[i, p] + 0.3 * (log_s.exp() - 1 - log_s))
    expected = torch.autograd.grad(sum(terms) / len(terms), algorithm.common.optimizer.parameters)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    assert metrics["kl_loss"] > 0
