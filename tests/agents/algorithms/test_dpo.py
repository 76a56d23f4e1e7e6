"""DPO from recorded episodes: which pairs it makes, and that it learns what was preferred."""

import copy

import pytest
import torch

from dyngen_agents.algorithms.dpo import DPO, DPOConfig
from dyngen_agents.data.episode_store import EpisodeStore, StoredEpisode
from dyngen_agents.data.offline import read_recorded
from dyngen_agents.policy.reference import Reference
from tests.support.small import small_env
from tests.support.tiny_mdp import Letters, tiny_env, tiny_policy


def episode(prompt: str, text: str, reward: float) -> StoredEpisode:
    ids = [*Letters().encode_prompt(prompt), *Letters().encode(text)]
    rewards = torch.zeros(len(ids))
    rewards[-1] = reward
    mask = torch.arange(len(ids)) >= len(ids) - len(text)
    return StoredEpisode(torch.tensor(ids, dtype=torch.int64), mask, rewards, torch.zeros(len(ids)), prompt=prompt)


def learner(config: DPOConfig, episodes: int) -> DPO:
    env = tiny_env(max_new_tokens=2, reward=len)
    policy = tiny_policy(env)
    return DPO(policy, Reference(copy.deepcopy(policy.lm), policy.distribution), config, episodes=episodes)


def test_it_learns_what_was_preferred_in_recorded_pairs():
    """In "a" the text "bb" was preferred, in "b" the text "aa"; the third prompt's texts were rated alike."""
    ours = learner(DPOConfig(learning_rate=2e-2, warmup_steps=0, group_size=2, minibatch_size=2), episodes=4)
    recorded = [
        ("a", "bb", 1.0),
        ("b", "bb", 0.0),
        ("a", "aa", 0.0),
        ("b", "aa", 1.0),
        ("ab", "a", 1.0),
        ("ab", "b", 1.0),
    ]
    ours.read(EpisodeStore([episode(*one) for one in recorded]))
    assert sorted(ours.recorded_pairs) == [[0, 2], [3, 1]]
    first, *_, last = [ours.update(ours.experience(None)) for _ in range(30)]
    assert first["margin"] == pytest.approx(0, abs=0.2)
    assert last["accuracy"] == 1 and last["margin"] > 0.5 and last["kl_per_token"] > 0
    batch = ours.experience(None)
    assert batch.groups.tolist() == [0, 0, 1, 1]
    implied = ours.diagnostics(batch).quantities[0].values.sum(1)
    assert float(implied[0]) > float(implied[1]) and float(implied[2]) > float(implied[3])


def test_data_without_a_difference_is_refused():
    with pytest.raises(ValueError, match="no prompt of the data has two completions of different reward"):
        learner(DPOConfig(), 4).read(EpisodeStore([episode("a", "b", 1.0), episode("b", "a", 0.0)]))


def test_pairs_of_people_are_two_episodes(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "The film", "chosen": " is good", "rejected": " is bad"}\n')
    store = read_recorded(file, small_env())
    assert [(e.prompt, e.text) for e in store.episodes] == [("The film", " is good"), ("The film", " is bad")]
    assert store.returns.tolist() == [1, 0]
