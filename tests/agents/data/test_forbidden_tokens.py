"""Choices that an env's agent could not have made: those of which the policy itself says that they are impossible."""

import torch

from dyngen_agents.data.episode_store import EpisodeStore, StoredEpisode
from dyngen_agents.data.forbidden_tokens import ForbiddenTokens, forbidden
from dyngen_env.text.tokenizer import ByteTokenizer
from tests.support.small import small_env, small_policy

BOS, END = ByteTokenizer.bos_id, ByteTokenizer.end_id


def episode(prompt: str, *written: int) -> StoredEpisode:
    ids = [BOS, *prompt.encode(), *written]
    mask = torch.arange(len(ids)) > len(prompt)
    return StoredEpisode(torch.tensor(ids, dtype=torch.int64), mask, torch.zeros(len(ids)), torch.zeros(len(ids)))


EPISODES = [
    episode("a bad", *b"b", END),
    episode("a", *b" bad, BAD", END),
    episode("ba", *b"d!", END),  # begun in the prompt
    episode("a", 98, BOS, END),
    episode("a", *b" badge", END),  # "bad" counts as ended where its last letter is written
]


def test_they_are_those_of_log_prob_minus_infinity():
    env = small_env(1, banned="bad").unwrapped
    policy, batch = small_policy(env), EpisodeStore(EPISODES).take(range(5))
    with torch.no_grad():
        logprobs = policy.evaluate(batch.tokens, batch.completion_mask).logprobs
    found = forbidden(batch, env.token_distribution())
    assert torch.equal(found, logprobs == -torch.inf)
    assert found.sum(1).tolist() == [0, 2, 1, 1, 1]


def test_their_episodes_are_left_out_and_counted():
    left_out = ForbiddenTokens(small_env(1, banned="bad").unwrapped)
    unknown = episode("a", 98, 5000)
    assert left_out.without([*EPISODES, unknown]) == EPISODES[:1]
    assert (left_out.episodes, dict(left_out.tokens)) == (5, {100: 3, 68: 1, BOS: 1, 5000: 1})
    said = "5 episodes with tokens that the agent may not write in this env ('d' 3 times, 'D' 1 times"
    assert str(left_out).startswith(said) and "token 256 1 times" in str(left_out)
