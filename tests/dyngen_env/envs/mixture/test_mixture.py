"""An env whose rows play several ids: each row does what its id does alone, but for the scale of its rewards."""

from __future__ import annotations

import warnings
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import dyngen_env
from dyngen_env import Example, TextGenEnv, TextGenVectorEnv
from dyngen_env.envs.mixture.ids import RETURN_SCALES
from tests.support.envs import MIXED, SMALL_IDS, random_actions

IDS = ("dyngen/Sentiment-v0", "dyngen/Dialogue-v0", "dyngen/RandomWalk-v0")


def mixed(rows: int = 4, **keywords) -> TextGenVectorEnv:
    return TextGenVectorEnv(rows, **{**MIXED, **keywords})


def test_an_episode_is_that_of_its_id_alone():
    """Prompt, user, ends and infos are equal for equal seeds and actions; rewards are divided by the scale."""
    own = dict(model="dialogue-lm", max_context_tokens=192)
    mixture = gym.make("dyngen/Mix-v0", tasks=" + ".join(IDS)).unwrapped
    alone = {name: gym.make(name, **own).unwrapped for name in IDS}
    legal, played = np.flatnonzero(mixture.action_masks()), Counter()
    for seed in range(24):
        observation, info = mixture.reset(seed=seed)
        name, rng = info["task"], np.random.default_rng(seed)
        played[name] += 1
        expected, _ = alone[name].reset(seed=seed)
        assert np.array_equal(observation, expected)
        over = False
        while not over:
            action = int(legal[0] if rng.random() < 0.05 else rng.choice(legal))
            observation, reward, terminated, truncated, info = mixture.step(action)
            expected, paid, *ends, other = alone[name].step(action)
            assert np.array_equal(observation, expected) and [terminated, truncated] == ends
            assert reward * RETURN_SCALES[name] == pytest.approx(paid, abs=1e-12)
            over = terminated or truncated
        terms = {k.split("/")[1]: v * RETURN_SCALES[name] for k, v in info.pop("reward_terms").items()}
        theirs = {"illegal": 0.0, **other.pop("reward_terms")}
        assert terms == pytest.approx(theirs, abs=1e-12) and info.pop("task") == name
        assert info == other
    assert min(played.values()) >= 3 and len(played) == 3


@pytest.mark.parametrize("observation", ["tokens", "dict"])
def test_the_checkers_of_gymnasium_and_stable_baselines3_find_nothing(observation):
    env = gym.make("dyngen/Mix-v0", observation=observation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
        sb3_check_env(env)


def test_tasks_are_drawn_by_weight():
    env = mixed(3000, tasks={"small/Write-v0": 3, "small/Talk-v0": 1})
    _, infos = env.reset(seed=0)
    share = float(np.mean(infos["task"] == "small/Write-v0"))
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 3000)
    env.set_task_weights({"small/Write-v0": 1, "small/Talk-v0": 1})
    _, infos = env.reset(seed=0)
    assert abs(np.mean(infos["task"] == "small/Write-v0") - 0.5) < 4 * np.sqrt(0.25 / 3000)
    assert env.fork([0]).task.shares == env.task.shares == {"small/Write-v0": 0.5, "small/Talk-v0": 0.5}


def test_tasks_by_the_row_stay_and_are_in_proportion():
    env = mixed(6, task_choice="rows", autoreset_mode="same_step")
    _, infos = env.reset(seed=7)
    begun = infos["task"].tolist()
    assert Counter(begun) == {"small/Write-v0": 4, "small/Talk-v0": 2}
    twin, rng = env.fork([5, 0]), np.random.default_rng(0)
    for _ in range(40):
        actions = random_actions(rng, 6)
        env.step(actions)
        twin.step(actions[[5, 0]])
        assert [example.task for example in env.examples] == begun
        assert [example.task for example in twin.examples] == [begun[5], begun[0]]
    single = TextGenEnv(**MIXED, task_choice="rows")
    assert [single.reset(seed=7 + row)[1]["task"] for row in range(6)] == begun
    assert single.reset()[1]["task"] == begun[5]  # for good, until it is seeded anew
    unseeded = mixed(3, task_choice="rows").reset()[1]["task"].tolist()
    assert Counter(unseeded) == {"small/Write-v0": 2, "small/Talk-v0": 1}


def test_infos_tell_the_task_and_only_its_terms():
    env = mixed(2, task_choice="rows", tasks="small/Write-v0 + small/Talk-v0", autoreset_mode="same_step")
    env.reset(seed=0)
    *_, infos = env.step(np.array([256, 256]))  # illegal in both
    final = infos["final_info"]
    assert final["task"].tolist() == infos["task"].tolist() == ["small/Write-v0", "small/Talk-v0"]
    terms = final["reward_terms"]
    assert terms["Write-v0/illegal"].tolist() == [-1.0, 0.0] and terms["Talk-v0/illegal"].tolist() == [0.0, -2.0]
    assert terms["_Write-v0/length"].tolist() == [True, False] and terms["_Talk-v0/rating"].tolist() == [False, True]
    assert "dialogue" in final and final["_dialogue"].tolist() == [False, True]


def test_tensors_tell_the_same():
    kinds = [mixed(4, output=output, autoreset_mode="same_step") for output in ("numpy", "torch")]
    rng = np.random.default_rng(1)
    arrays, tensors = (env.reset(seed=2) for env in kinds)
    assert arrays[1]["task"].tolist() == tensors[1]["task"].tolist()
    for _ in range(30):
        actions = random_actions(rng, 4)
        (_, r, *_, infos), (_, s, *_, others) = (env.step(actions) for env in kinds)
        assert np.allclose(r, s.numpy())
        for row in np.flatnonzero(infos.get("_final_info", np.zeros(4))):
            mine, theirs = infos["final_info"], others["final_info"]
            assert mine["task"][row] == theirs["task"][row] and mine["text"][row] == theirs["text"][row]
            for name in (n for n in mine["reward_terms"] if n[0] != "_" and mine["reward_terms"][f"_{n}"][row]):
                assert theirs["reward_terms"][f"_{name}"][row]
                assert mine["reward_terms"][name][row] == pytest.approx(float(theirs["reward_terms"][name][row]))


def test_turns_have_the_budget_of_their_task():
    env = mixed(2, task_choice="rows", tasks="small/Write-v0 + small/Talk-v0", observation="dict")
    seen, _ = env.reset(seed=0)
    assert seen["tokens_left"].ravel().tolist() == [5, 3]
    for _ in range(2):
        seen = env.step(np.array([97, 97]))[0]
    assert seen["tokens_left"].ravel().tolist() == [3, 1]
    assert env.step(np.array([97, 97]))[0]["tokens_left"].ravel().tolist() == [2, 3]  # the second has been answered


def test_a_control_token_tells_the_task():
    plain, told = (dyngen_env.mix(" + ".join(IDS), num_envs=30, task_tokens=wish) for wish in (False, True))
    (before, infos), (after, _) = plain.reset(seed=0), told.reset(seed=0)
    assert np.array_equal(after[:, 1:], before[:, :-1])
    first = {name: set(after[infos["task"] == name, 0].tolist()) for name in IDS}
    tokens = set.union(*first.values())
    assert all(len(own) == 1 for own in first.values()) and len(tokens) == 3
    assert tokens <= told.tokenizer.control_ids - told.tokenizer.end_ids and not told.action_masks()[list(tokens)].any()
    assert tokens.isdisjoint(before.ravel())


def test_examples_may_be_chosen_and_say_whose_they_are():
    env = mixed(2)
    _, infos = env.reset(
        options={"prompt": [Example("hello", task="small/Talk-v0"), Example("x", task="small/Write-v0")]}
    )
    assert infos["task"].tolist() == ["small/Talk-v0", "small/Write-v0"] and [d is None for d in env.dialogues] == [
        0,
        1,
    ]
    write, talk = (SMALL_IDS[name]["prompts"] for name in MIXED["tasks"])
    env.reset(options={"example": [0, len(write)]})
    assert [e.prompt for e in env.examples] == [write[0], talk[0]]
    with pytest.raises(ValueError, match=r"of task None, and this env plays small/Write-v0, .*: say which, by Example"):
        env.reset(options={"prompt": "hello"})
    with pytest.raises(ValueError, match="example 7 does not exist: expected 0 <= example < 7"):
        env.reset(options={"example": 7})


def test_one_reward_may_be_paid_in_all_tasks():
    env = mixed(2, task_choice="rows", tasks="small/Write-v0 + small/Talk-v0", reward="2 - 3*illegal")
    env.reset(seed=0)
    assert env.reward_names == ["constant", "illegal"] and env.step(np.array([257, 257]))[1].tolist() == [2.0, 2.0]


class Greets:
    """A user whose persona counts how often they were met."""

    answers = True

    def begin(self, examples, rngs):
        return self.begin_after([None] * len(examples), examples, rngs)

    def begin_after(self, before, examples, rngs):
        return [1 if visits is None else visits + 1 for visits in before]

    def reply(self, dialogues, rngs):
        raise AssertionError("nobody is asked here")


def test_users_meet_only_personas_of_their_own(monkeypatch):
    """One that a row brings from another task would be of another kind."""
    for name in ("small/A-v0", "small/B-v0"):
        keywords = dict(prompts=[name], user=Greets(), reward="1", max_new_tokens=3)
        kind = "dyngen_env.envs.env:TextGenEnv"
        monkeypatch.setitem(gym.registry, name, gym.envs.registration.EnvSpec(name, entry_point=kind, kwargs=keywords))
    env = mixed(1, tasks="small/A-v0 + small/B-v0", autoreset_mode="same_step")
    env.reset(seed=0)
    before, again, anew = env.dialogues[0], 0, 0
    for _ in range(40):
        env.step(np.array([256]))  # illegal: it ends without an answer
        talk = env.dialogues[0]
        same = talk.example.task == before.example.task
        assert talk.persona == (before.persona + 1 if same else 1)
        before, again, anew = talk, again + same, anew + (not same)
    assert again > 5 and anew > 5
