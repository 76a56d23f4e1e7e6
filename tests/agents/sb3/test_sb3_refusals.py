"""Envs and settings that the policy for Stable-Baselines3 cannot work with: errors that name the remedy."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

from dyngen_agents.sb3 import LMActorCriticPolicy, as_sb3_vec_env
from dyngen_env.lm.distribution import SamplingConfig
from tests.support.media import EXAMPLES
from tests.support.sb3_agents import make, share_of_vowels, vec_env


def test_another_vocabulary_is_refused(tiny_model):
    settings = dict(tokenizer="bytes", reward=share_of_vowels, autoreset_mode="same_step")
    env = as_sb3_vec_env(gym.make_vec("dyngen/Generate-v0", num_envs=2, **settings))
    with pytest.raises(ValueError, match=r"policy .* has \d+ tokens, env has 260: give both the same model"):
        make(tiny_model, env=env)


@pytest.mark.parametrize(
    "space",
    [gym.spaces.Box(-np.inf, np.inf, (4,), np.float32), gym.spaces.Box(0, 9, (4,), np.int64), gym.spaces.Dict()],
)
def test_observations_that_are_no_tokens_are_refused(tiny_model, space):
    with pytest.raises(ValueError, match='observation="tokens"'):
        LMActorCriticPolicy(space, vec_env(tiny_model).action_space, lambda _: 0.1, str(tiny_model))


def test_a_context_longer_than_the_window_is_refused(tiny_model):
    tokens = gym.spaces.Discrete(vec_env(tiny_model).action_space.n)
    with pytest.raises(ValueError, match="reads at most 128"):
        LMActorCriticPolicy(gym.spaces.Box(-1, 10, (129,), np.int64), tokens, lambda _: 0.1, str(tiny_model))


@pytest.mark.parametrize("observation", ["tokens", "dict"])
def test_stacked_observations_are_refused(tiny_model, observation):
    env = VecFrameStack(vec_env(tiny_model, observation=observation), 3)
    with pytest.raises(ValueError, match="have 96 tokens, those of the env 32: a wrapper such as VecFrameStack"):
        make(tiny_model, buffer=None, env=env)


@pytest.mark.parametrize("observation", ["tokens", "dict"])
def test_scaled_observations_are_refused_and_scaled_rewards_are_not(tiny_model, observation):
    env = vec_env(tiny_model, observation=observation)
    with pytest.raises(ValueError, match=r"floats.*Use VecNormalize\(env, norm_obs=False\)"):
        make(tiny_model, buffer=None, env=VecNormalize(env)).learn(64)
    agent = make(tiny_model, buffer=None, env=VecNormalize(env, norm_obs=False)).learn(64)
    with pytest.raises(ValueError, match="a wrapper such as VecNormalize scales them"):
        agent.predict({k: v / 2 for k, v in env.reset().items()} if observation == "dict" else env.reset() / 2)


@pytest.mark.parametrize("observation", ["tokens", "dict"])
def test_pictures_are_refused(tiny_model, observation):
    env = vec_env(tiny_model, observation=observation, prompts=EXAMPLES)
    with pytest.raises(ValueError, match=r"shows pictures or sounds, and policy .* reads words alone"):
        make(tiny_model, buffer=None, env=env)


def test_a_greedy_policy_is_refused(tiny_model):
    with pytest.raises(ValueError, match="temperature is 0, which is greedy"):
        make(tiny_model, sampling=SamplingConfig(temperature=0))
