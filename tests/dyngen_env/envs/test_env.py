"""The one-row view, and the checkers that other libraries bring."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from gymnasium.wrappers.vector import DictInfoToList
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVectorStatistics
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.env_util import make_vec_env

import dyngen_env
from tests.support.envs import EOS, SMALL, single, write

IDS = {"dyngen/Generate-v0": SMALL, "dyngen/Sentiment-v0": {}}


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("render_mode", [None, "ansi", "human", "rgb_array"])
@pytest.mark.parametrize("observation", ["tokens", "dict", "text"])
def test_gymnasiums_checker_finds_nothing(name, render_mode, observation, capsys):
    env = gym.make(name, render_mode=render_mode, observation=observation, **IDS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()
    env.close()


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
@pytest.mark.parametrize("observation", ["tokens", "dict"])
def test_stable_baselines3s_checker_finds_nothing(name, render_mode, observation):
    env = gym.make(name, render_mode=render_mode, observation=observation, **IDS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(env.unwrapped)
        sb3_check_env(env)


def test_stable_baselines3_can_wrap_it():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make_vec_env("dyngen/Generate-v0", n_envs=2, env_kwargs=SMALL, seed=0)
        env.reset()
        for _ in range(20):
            _, _, dones, infos = env.step(np.array([97, 257]))
        assert dones[1] and infos[1]["finish_reason"] == "stop" and "terminal_observation" in infos[1]


def test_what_a_step_returns():
    env = single(prompts=["A"])
    tokens, info = env.reset(seed=1)
    assert tokens.dtype == np.int64 and tokens[:3].tolist() == [256, 65, -1] and info == {}
    tokens, reward, terminated, truncated, info = env.step(ord("b"))
    assert tokens[:4].tolist() == [256, 65, 98, -1]
    assert type(reward) is float and type(terminated) is bool and type(truncated) is bool and info == {}
    tokens, reward, terminated, truncated, info = env.step(EOS)
    assert tokens[3] == EOS and (terminated, truncated) == (True, False)
    assert info == {
        "finish_reason": "stop",
        "text": "b",
        "reward_terms": {"length": pytest.approx(1 / 3), "repetition": 0.0},
    }
    assert [type(value) for value in info["reward_terms"].values()] == [float, float]
    assert reward == pytest.approx(1 / 3)


@pytest.mark.parametrize("limit", ["terminate", "truncate"])
def test_a_used_up_budget(limit):
    env = single(length_limit=limit)
    env.reset(seed=0)
    assert not any(write(env, "abcd")[2:4])
    *_, terminated, truncated, info = write(env, "e")
    assert (terminated, truncated) == (True, limit == "truncate")  # paid in either case: nothing follows
    assert info["finish_reason"] == "length" and info["text"] == "abcde"


@pytest.mark.parametrize(
    ("stop", "written", "text"),
    [
        ("XY", "aXY", "a"),
        (["zz", "Y"], "aXY", "aX"),
        (["é"], "xé", "x"),
        (["漢字"], "漢字", ""),
        (["abc", "b"], "ab", "a"),
    ],
)
def test_a_stop_string_ends_the_turn_and_is_cut_from_the_text(stop, written, text):
    env = single(prompts=["A"], stop=stop, max_new_tokens=10)
    env.reset(seed=0)
    head, last = written.encode()[:-1], written.encode()[-1:]
    if head:
        assert not write(env, head)[2]
    tokens, _, terminated, _, info = write(env, last)
    assert terminated and info["finish_reason"] == "stop" and info["text"] == text
    assert bytes(t for t in tokens[2:].tolist() if t >= 0) == written.encode()  # the match stays in the observation


def test_broken_utf8_can_neither_hide_nor_feign_a_stop_string():
    env = single(prompts=["A"], stop=["é", "\ufffd"])
    env.reset(seed=0)
    info = write(env, b"\xe6\x9c\xc3\xa9")[-1]
    assert info["finish_reason"] == "stop" and info["text"] == "\ufffd"


def test_a_step_needs_a_reset_before_and_after():
    env = single()
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(97)
    env.reset(seed=0)
    env.step(EOS)
    for _ in range(2):
        with pytest.raises(ResetNeeded, match="call reset"):
            env.step(97)
    env.reset()
    env.step(97)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (260, "action 260 of row 0 is out of range: expected 0 <= token < 260"),
        (-1, "action -1"),
        (1.0, "dtype float64"),
        (True, "dtype bool"),
        ("a", "dtype <U1"),
        (None, "dtype object"),
        ([97], r"shape \(1,\)"),
        (np.array([[97]]), r"shape \(1, 1\)"),
        (torch.tensor(97.0), "dtype torch.float32"),
        (torch.tensor([97]), r"shape \(1,\)"),
    ],
)
def test_wrong_actions(action, message):
    env = single()
    before, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    after = env.step(97)[0]
    assert (after >= 0).sum() == (before >= 0).sum() + 1


@pytest.mark.parametrize("action", [97, np.int64(97), np.uint8(97), np.array(97), torch.tensor(97)])
def test_any_integer_will_do(action):
    env = single()
    env.reset(seed=0)
    assert 97 in env.step(action)[0]


def test_seeds_repeat_an_episode_and_go_on_from_there():
    env = single()
    first = [env.reset(seed=5)[0].tolist()] + [env.reset()[0].tolist() for _ in range(6)]
    again = [env.reset(seed=5)[0].tolist()] + [env.reset()[0].tolist() for _ in range(6)]
    assert first == again and len({str(tokens) for tokens in first}) > 1
    assert env.np_random_seed == 5
    assert single().reset()[0].shape == (24,)  # no seed at all


def test_a_generator_that_is_set_is_used():
    env, other = single(), single()
    env.reset(seed=1)
    env.np_random = np.random.default_rng(3)
    other.reset(seed=2)
    other.np_random = np.random.default_rng(3)
    assert [env.reset()[0].tolist() for _ in range(5)] == [other.reset()[0].tolist() for _ in range(5)]


def test_options_choose_the_prompt():
    env = single()
    assert bytes(env.reset(options={"prompt": "mine"})[0][1:5].tolist()) == b"mine"
    assert bytes(env.reset(options={"example": 0})[0][1:2].tolist()) == b"A"
    with pytest.raises(ValueError, match="example 5 does not exist"):
        env.reset(options={"example": 5})


def test_a_fork_goes_its_own_way():
    env = single()
    env.reset(seed=3)
    env.step(97)
    twin = env.fork()
    assert np.array_equal(twin.step(98)[0], env.step(98)[0])
    twin.step(EOS)
    env.step(97)  # the fork's end is not the original's
    assert np.array_equal(twin.reset()[0], env.reset()[0]) and np.array_equal(twin.reset()[0], env.reset()[0])
    other = env.fork(reseed=11)
    assert other.np_random_seed == 11
    assert np.array_equal(other.reset()[0], single().reset(seed=11)[0])
    assert twin.unwrapped is twin and isinstance(twin, dyngen_env.TextGenEnv)


def test_tensors_if_one_likes():
    env = single(output="torch")
    tokens, _ = env.reset(seed=0)
    assert isinstance(tokens, torch.Tensor)
    _, reward, terminated, truncated, info = env.step(torch.tensor(EOS))
    assert type(reward) is float and (terminated, truncated) == (True, False)
    assert info["finish_reason"] == "stop" and info["text"] == "" and type(info["reward_terms"]["length"]) is float


def test_gymnasiums_wrappers_work():
    env = TimeLimit(RecordEpisodeStatistics(single()), max_episode_steps=3)
    env.reset(seed=0)
    *_, terminated, truncated, info = write(env, "abc")
    assert (terminated, truncated, info) == (False, True, {})
    env.reset()
    info = write(env, "a", EOS)[-1]
    assert info["episode"]["l"] == 2 and info["episode"]["r"] == pytest.approx(sum(info["reward_terms"].values()))


@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
def test_gymnasiums_vector_wrappers_work(mode):
    env = gym.make_vec("dyngen/Generate-v0", num_envs=3, autoreset_mode=mode, **SMALL)
    env = DictInfoToList(RecordVectorStatistics(env))
    env.reset(seed=0)
    env.step(np.array([97, 98, 99]))
    *_, terminated, _, infos = env.step(np.array([97, 257, 99]))
    assert terminated.tolist() == [False, True, False]
    assert infos[0] == infos[2] == {} and infos[1]["episode"]["l"] == 2
    end = infos[1]["final_info"] if mode == "same_step" else infos[1]
    assert end["finish_reason"] == "stop" and end["text"] == "b"
    if mode == "disabled":
        env.reset(options={"reset_mask": terminated})
        _, _, _, _, infos = env.step(np.array([97, 257, 99]))
        assert infos[1]["episode"]["l"] == 1
