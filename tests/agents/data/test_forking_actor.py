"""Monte-Carlo values by forks, against their expectation over every end that a turn can have."""

import torch

from dyngen_agents.data.forking_actor import ForkingActor
from dyngen_agents.data.judged_texts import JudgedTexts
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from tests.support.tiny_mdp import all_episodes, tiny_env, tiny_policy


def score(texts):
    """Another number for every text."""
    at = torch.arange(1, texts.tokens.shape[1] + 1)
    return ((texts.tokens.clamp(min=0) * at).sum(1) % 7) / 7.0


def test_values_are_the_expected_scores_of_the_ends():
    env = tiny_env(8, reward=0)
    policy = tiny_policy(env)
    episodes = all_episodes(reward=0)
    with torch.no_grad():
        logprobs = policy.evaluate(episodes.tokens, episodes.completion_mask).logprobs
    scores = score(JudgedTexts(episodes.tokens, torch.ones(len(episodes.tokens), dtype=torch.int64)))
    batch = collect(env, ForkingActor(Actor(policy, 0), env, score, 1000, reads_prompt=True), 8, seed=0)
    checked = 0
    for row in range(8):
        for p in batch.completion_mask[row].nonzero().flatten().tolist():
            same = (episodes.tokens[:, :p] == batch.tokens[row, :p]).all(1)  # the episodes that begin like that
            weights = logprobs[same, p:].sum(1).exp()
            expected = float((weights * scores[same]).sum() / weights.sum())
            assert abs(float(batch.values[row, p]) - expected) < 0.05  # deviation 0.3/√1000 = 0.01
            checked += 1
    assert checked >= 8


def test_the_choices_are_those_of_the_actor_alone():
    env = tiny_env(8, reward=0)
    policy = tiny_policy(env)
    plain = collect(env, Actor(policy, 3), 8, seed=0)
    forked = collect(env, ForkingActor(Actor(policy, 3), env, score, 2, reads_prompt=True), 8, seed=0)
    assert torch.equal(plain.tokens, forked.tokens)
    torch.testing.assert_close(plain.logprobs, forked.logprobs, atol=1e-5, rtol=0)
