"""What the agent is shown."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from gymnasium.vector.utils import batch_space

from dyngen_env import Feedback
from dyngen_env.envs.observations import AnyText
from tests.support.envs import END, EOS, PROMPTS, Talker, batch, random_actions, single, write

TALK = dict(user=Talker((Feedback("ok"),)), max_turns=3, max_context_tokens=40)


@pytest.mark.parametrize("kind", ["tokens", "dict", "text"])
@pytest.mark.parametrize("mode", ["next_step", "same_step"])
@pytest.mark.parametrize("kwargs", [{}, TALK], ids=["silent", "talking"])
def test_spaces_contain_all_that_is_shown(kind, mode, kwargs):
    env, rng = batch(3, observation=kind, autoreset_mode=mode, **kwargs), np.random.default_rng(0)
    assert env.observation_space == batch_space(env.single_observation_space, 3)
    seen, _ = env.reset(seed=0)
    for _ in range(80):
        assert env.observation_space.contains(seen)
        seen, _, terminated, truncated, infos = env.step(random_actions(rng, 3))
        for final in infos.get("final_obs", [])[terminated | truncated] if "final_obs" in infos else []:
            assert env.single_observation_space.contains(final)
            assert env.single_observation_space.contains(final)


def test_the_dict_shows_masks_and_what_is_left():
    env = single(observation="dict", prompts=["A"], **TALK)
    seen, _ = env.reset(seed=0)
    assert seen["input_ids"].tolist() == [256, 259, 65, 258, *[257] * 36]  # a valid id where empty
    assert seen["attention_mask"].tolist() == [1] * 4 + [0] * 36
    assert not seen["completion_mask"].any() and seen["tokens_left"].tolist() == [5]
    seen = write(env, "ab")[0]
    assert seen["completion_mask"].tolist() == [0] * 4 + [1] * 2 + [0] * 34
    assert seen["attention_mask"].sum() == 6 and seen["tokens_left"].tolist() == [3]
    seen = env.step(END)[0]
    assert seen["completion_mask"].tolist() == [0] * 4 + [1] * 3 + [0] * 33
    assert seen["attention_mask"].sum() == 7 + 4 and seen["tokens_left"].tolist() == [5]
    assert {key: value.dtype for key, value in seen.items()} == {
        "input_ids": np.int64,
        "attention_mask": np.int8,
        "completion_mask": np.int8,
        "tokens_left": np.int64,
    }


def test_text_is_what_was_said_without_control_tokens():
    env = single(observation="text", prompts=["né "])
    assert env.reset(seed=0)[0] == "né "
    assert write(env, b"x\xc3")[0] == "né x\ufffd"
    assert write(env, b"\xa9", EOS)[0] == "né xé"


def test_the_length_does_not_depend_on_the_prompts():
    """Saved policies compare spaces."""
    spaces = [single(prompts=p).observation_space for p in (["a"], PROMPTS)]
    assert spaces[0] == spaces[1] and spaces[0].shape == (24,)


def test_any_text():
    space = AnyText(3)
    for text, inside in (("", True), ("é漢\U0001f600", True), ("four", False), (5, False), (None, False)):
        assert (text in space) is inside
    assert space == AnyText(3) != AnyText(4) and pickle.loads(pickle.dumps(space)) == space
    space.seed(0)
    assert all(space.contains(space.sample()) for _ in range(50))
