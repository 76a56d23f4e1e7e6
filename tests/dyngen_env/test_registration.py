"""The ids: made by `gym.make` and `gym.make_vec`, described by specs that rebuild them."""

from __future__ import annotations

import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from dyngen_env import TextGenEnv, TextGenVectorEnv
from tests.support.envs import SMALL

IDS = ["dyngen/Generate-v0", "dyngen/Sentiment-v0"]


def first_steps(env, seed=0):
    rows = getattr(env, "num_envs", None)
    seen = [env.reset(seed=seed)[0]]
    for token in (97, 98, 99):
        seen.append(env.step(token if rows is None else np.full(rows, token))[0])
    return seen


@pytest.mark.parametrize("name", IDS)
def test_every_id_works_with_no_argument(name):
    env = gym.make(name)
    assert isinstance(env.unwrapped, TextGenEnv)
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation) and info == {}
    legal = np.flatnonzero(env.unwrapped.action_masks())
    for token in legal[-3:]:  # the first are the ends
        observation, *_ = env.step(token)
        assert env.observation_space.contains(observation)
    env.close()


def test_the_defaults_of_the_ids():
    sentiment = gym.make("dyngen/Sentiment-v0").unwrapped
    assert sentiment.observation_space.shape == (64,) and sentiment.batch.max_new_tokens == 32
    assert sentiment.batch.reward_names == ["sentiment", "illegal"] and sentiment.batch.model == "reviews-lm"
    words = [len(example.prompt.split()) for example in sentiment.batch.task.examples]
    assert min(words) >= 4 and max(words) <= 8 and len(words) > 100
    generate = gym.make("dyngen/Generate-v0").unwrapped
    assert generate.batch.reward_names == ["fluency", "illegal"] and generate.observation_space.shape == (128,)


def test_an_ids_own_tokenizer_can_be_replaced():
    env = gym.make("dyngen/Sentiment-v0", tokenizer="bytes", max_context_tokens=128)
    assert env.action_space.n == 260
    assert gym.make("dyngen/Sentiment-v0", model="reviews-lm").action_space.n > 1000


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        (None, TextGenVectorEnv),
        ("vector_entry_point", TextGenVectorEnv),
        ("sync", SyncVectorEnv),
        ("async", AsyncVectorEnv),
    ],
)
def test_make_vec(how, kind):
    env = gym.make_vec("dyngen/Generate-v0", num_envs=2, vectorization_mode=how, **SMALL)
    assert isinstance(env, kind) and env.num_envs == 2
    other = gym.make_vec("dyngen/Generate-v0", num_envs=2, **SMALL)
    for mine, theirs in zip(first_steps(env), first_steps(other), strict=True):
        assert np.array_equal(mine, theirs)
    env.close()


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_make_vec_takes_the_autoreset_mode(mode):
    native = gym.make_vec("dyngen/Generate-v0", num_envs=2, autoreset_mode=mode, **SMALL)
    sync = gym.make_vec(
        "dyngen/Generate-v0",
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        **SMALL,
    )
    assert native.metadata["autoreset_mode"] == sync.metadata["autoreset_mode"] == mode


def test_specs_rebuild_what_they_describe():
    env = gym.make("dyngen/Generate-v0", **SMALL)
    twins = [
        gym.make(env.spec),
        gym.make(pickle.loads(pickle.dumps(env.spec))),
        gym.make(EnvSpec.from_json(env.spec.to_json())),
    ]
    expected = first_steps(env)
    for twin in twins:
        assert np.array_equal(first_steps(twin), expected)
        assert twin.spec.kwargs == env.spec.kwargs
    assert json.loads(env.spec.to_json())["id"] == "dyngen/Generate-v0"


def test_vector_specs_rebuild_what_they_describe():
    envs = gym.make_vec("dyngen/Generate-v0", num_envs=2, autoreset_mode="same_step", **SMALL)
    assert envs.spec is not None
    for spec in (envs.spec, pickle.loads(pickle.dumps(envs.spec)), EnvSpec.from_json(envs.spec.to_json())):
        twin = gym.make_vec(spec)
        assert twin.num_envs == 2 and twin.autoreset_mode == AutoresetMode.SAME_STEP
        assert np.array_equal(first_steps(twin), first_steps(envs))


def test_python_objects_pass_through_make():
    env = gym.make("dyngen/Generate-v0", **{**SMALL, "reward": len})
    env.reset(seed=0)
    assert gym.make(env.spec).unwrapped.batch.reward_names == ["len", "illegal"]


@pytest.mark.parametrize(("make", "known"), [(gym.make, "render_mode"), (gym.make_vec, "autoreset_mode")])
def test_an_unknown_keyword_is_a_type_error_that_names_the_known_ones(make, known):
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'promts': did you mean 'prompts'\?") as error:
        make("dyngen/Generate-v0", promts=["x"])
    assert f"{known}" in str(error.value) and "max_new_tokens" in str(error.value)


def test_libraries_that_probe_for_frameskip_get_the_words_they_look_for():
    """TorchRL makes every env with `frameskip=` and goes on if this is what it hears."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip"):
        gym.make("dyngen/Generate-v0", frameskip=1)


@pytest.mark.parametrize("name", IDS)
def test_with_its_own_model_a_batch_does_what_single_envs_do(name):
    """Rewards that come from a model agree to 1e-4: matrix products over other batch sizes round differently."""
    native = gym.make_vec(name, num_envs=3)
    sync = gym.make_vec(name, num_envs=3, vectorization_mode="sync")
    legal = np.flatnonzero(native.unwrapped.action_masks())
    rng, ends = np.random.default_rng(0), 0
    assert np.array_equal(native.reset(seed=1)[0], sync.reset(seed=1)[0])
    for _ in range(70):
        actions = rng.choice(legal, size=3)
        mine, theirs = native.step(actions), sync.step(actions)
        for i in (0, 2, 3):
            assert np.array_equal(mine[i], theirs[i])
        np.testing.assert_allclose(mine[1], theirs[1], atol=1e-4)
        assert mine[4].keys() == theirs[4].keys()
        if "text" in mine[4]:
            assert mine[4]["text"].tolist() == theirs[4]["text"].tolist()
            ends += int(mine[4]["_text"].sum())
    assert ends >= 5
