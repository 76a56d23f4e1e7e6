"""PPO on episodes that another policy has played."""

import copy

import pytest
import torch

from dyngen_agents.algorithms.ppo import PPO, PPOConfig
from dyngen_agents.data.episode_store import EpisodeStore, StoredEpisode
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.reference import Reference
from tests.support.small import small_env, small_policy


def learner(policy, config=None, **run):
    return PPO(policy, Reference(copy.deepcopy(policy.lm), policy.distribution), config or PPOConfig(), **run)


def test_its_own_episodes_teach_the_same_whether_they_are_played_or_recorded():
    """Every weight is one then, and the recorded log-probs are the policy's own."""
    env = small_env()
    weights = []
    for recorded in (False, True):
        policy = small_policy(env)
        batch = collect(env, Actor(policy, seed=1), 32, seed=0)
        algorithm = learner(policy, PPOConfig(minibatch_size=16, kl_coef=0.0), episodes=32)
        if recorded:
            store = EpisodeStore()
            store.add(batch)
            algorithm.read(store)
            batch = store.take(range(32))
        metrics = algorithm.update(batch)
        assert not recorded or metrics["importance"] == pytest.approx(1.0) == metrics["effective_share"]
        weights.append([p.detach().clone() for p in policy.lm.parameters()])
    for played, read in zip(*weights, strict=True):
        torch.testing.assert_close(read, played, atol=2e-5, rtol=1e-3)


def choice(token: int, logprob: float, reward: float) -> StoredEpisode:
    """One token after a prompt."""
    tokens, mask = torch.tensor([256, 97, token], dtype=torch.int64), torch.tensor([False, False, True])
    rewards, logprobs = torch.tensor([0, 0, reward]), torch.tensor([0, 0, logprob])
    return StoredEpisode(tokens, mask, rewards, logprobs)


@pytest.mark.parametrize("cap", [1e6, 1.0])
def test_choices_are_weighted_by_how_likely_they_were_and_are(cap):
    policy = small_policy(small_env(1))
    with torch.no_grad():
        tokens = torch.tensor([[256, 97, t] for t in (120, 121)])
        pi = policy.evaluate(tokens, tokens == tokens[:, -1:]).logprobs[:, 2].exp()
    mu = pi * torch.tensor([2.0, 0.25])
    store = EpisodeStore([choice(120, float(mu[0].log()), 1.0)] * 3 + [choice(121, float(mu[1].log()), 0.0)])
    algorithm = learner(policy, PPOConfig(importance_cap=cap, whiten_advantages=False), episodes=4)
    algorithm.read(store)
    metrics = algorithm.update(store.take(range(4)))
    weights = torch.tensor([0.5, 0.5, 0.5, 4.0]).clamp(max=cap)
    assert metrics["importance"] == pytest.approx(float(weights.mean()), rel=1e-4)
    share = float(weights.sum() ** 2 / (4 * (weights**2).sum()))
    assert metrics["effective_share"] == pytest.approx(share, rel=1e-4)


def test_it_learns_the_better_answer_from_a_policy_that_hardly_gave_it():
    policy = small_policy(small_env(1))
    good, bad = choice(120, -4.0, 1.0), choice(121, -0.02, -1.0)
    algorithm = learner(policy, PPOConfig(learning_rate=3e-3, warmup_steps=0, kl_coef=0.0), episodes=32)
    algorithm.read(EpisodeStore([bad] * 28 + [good] * 4))
    tokens = torch.tensor([[256, 97, t] for t in (120, 121)])

    def log_odds():
        with torch.no_grad():
            better, worse = policy.evaluate(tokens, tokens == tokens[:, -1:]).logprobs[:, 2]
        return float(better - worse)

    before = log_odds()
    for _ in range(6):
        algorithm.update(algorithm.experience(None))
    assert log_odds() > before + 1


def test_episodes_of_unknown_likelihood_are_refused():
    with pytest.raises(ValueError, match="of 1 of 2 recorded episodes nobody knows how likely"):
        learner(small_policy(small_env(1))).read(EpisodeStore([choice(97, -1.0, 0), choice(97, 0.0, 0)]))
