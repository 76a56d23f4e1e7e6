"""Behaviour cloning finds the frequencies of what it imitates; %BC those of the best; a run of it goes on exactly."""

import copy
import json
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file

from dyngen_agents.algorithms.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
from dyngen_agents.data.episode_store import EpisodeStore, StoredEpisode
from dyngen_agents.data.shared_rollout import collect_together
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.train import train
from tests.support.tiny_mdp import Letters, all_episodes, tiny_env, tiny_policy

EOS = Letters().eos
COUNTS = {"a": 8, "b": 4, "ab": 3, "ba": 1}  # how often each text was recorded
RETURNS = {"a": 0.0, "b": 1.0, "ab": 2.0, "ba": 2.0}
FAST = dict(learning_rate=2e-2, warmup_steps=2, minibatch_size=16)


def recorded() -> EpisodeStore:
    """The texts after "a", each ended by EOS where the budget of two tokens allows it."""
    texts = list(Counter(COUNTS).elements())
    rows = [
        [*Letters().encode_prompt("a"), *Letters().encode(text), *([EOS] if len(text) < 2 else [])] for text in texts
    ]
    episodes = []
    for text, ids in zip(texts, rows, strict=True):
        rewards = torch.zeros(len(ids))
        rewards[-1] = RETURNS[text]
        chosen = torch.arange(len(ids)) > 1
        episodes.append(StoredEpisode(torch.tensor(ids, dtype=torch.int64), chosen, rewards, torch.zeros(len(ids))))
    return EpisodeStore(episodes)


def learner(env, config, updates, episodes=16):
    policy = tiny_policy(env)
    reference = Reference(copy.deepcopy(policy.lm), policy.distribution)
    return policy, BehaviourCloning(policy, reference, config, total_updates=updates, episodes=episodes)


def probabilities(policy) -> dict[str, float]:
    every = all_episodes(max_new_tokens=2, reward=len)
    with torch.no_grad():
        logprobs = policy.evaluate(every.tokens, every.completion_mask).logprobs.sum(1)
    texts = ["".join("ab"[i] for i in row[2:] if 0 <= i < 2) for row in every.tokens.tolist()]
    return dict(zip(texts, logprobs.exp().tolist(), strict=True))


@pytest.mark.parametrize(("top_fraction", "best"), [(1.0, COUNTS), (0.25, {"ab": 3, "ba": 1})])
def test_it_finds_the_frequencies_of_the_best(top_fraction, best):
    policy, ours = learner(
        tiny_env(max_new_tokens=2, reward=len), BehaviourCloningConfig(**FAST, top_fraction=top_fraction), 40
    )
    ours.read(recorded())
    for _ in range(40):
        metrics = ours.update(ours.experience(None))
    found, total = probabilities(policy), sum(best.values())
    for text, count in best.items():
        assert found[text] == pytest.approx(count / total, abs=0.04), text
    shares = torch.tensor(list(best.values())) / total
    choices = torch.tensor([len(text) + (len(text) < 2) for text in best])
    entropy = float(-(shares * shares.log()).sum() / (shares * choices).sum())
    assert metrics["loss"] == pytest.approx(entropy, abs=0.02)  # the least that a cross-entropy can be, a token
    assert metrics["kl_per_token"] > 0.1


@pytest.mark.parametrize("choice", [{"top_fraction": 0.25}, {"group_size": 4}])
def test_without_data_it_imitates_the_best_of_its_own(choice):
    env = tiny_env(64, max_new_tokens=2, reward=lambda text: text.count("b") / 2)
    policy, ours = learner(env, BehaviourCloningConfig(**FAST, **choice), 10, 64)
    ours.read(None)
    before = probabilities(policy)["bb"]
    for update in range(10):

        def play(actor, group_size):
            return collect_together(env, actor, 64, seed=64 * update, actor_seed=update, group_size=group_size)  # noqa: B023

        ours.update(ours.experience(play))
    assert before < 0.4 and probabilities(policy)["bb"] > 0.9


def test_all_of_ones_own_teach_nothing(tiny_config):
    with pytest.raises(ValueError, match=r"learns nothing: give data .*, or top_fraction=0.1 .*, or group_size=8"):
        train(tiny_config(), BehaviourCloningConfig())


def test_a_run_with_data_goes_on_exactly(tiny_config, tmp_path):
    lines = [
        {"prompt": "The film", "completion": f" is {word}", "reward": i}
        for i, word in enumerate(["good", "bad", "sad"])
    ]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = BehaviourCloningConfig(minibatch_size=4)
    whole = train(tiny_config(updates=3, data="mine.jsonl", out="whole"), config)
    parts = train(tiny_config(updates=3, data="mine.jsonl", out="parts", max_minutes=1e-9), config)
    assert train(TrainConfig(resume=str(parts), max_minutes=10.0)) == parts
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = load_file(parts / name), load_file(whole / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    losses = [record["loss"] for record in read_metrics(parts)]
    assert losses == [record["loss"] for record in read_metrics(whole)] and losses[-1] < losses[0]
