"""The adapter equals DummyVecEnv over the same single envs, trajectories and infos, over hundreds of episodes."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers.vector import NormalizeReward, RecordEpisodeStatistics
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import dyngen_env  # noqa: F401  (registers the ids)
from dyngen_agents.sb3 import as_sb3_vec_env
from dyngen_env import Feedback
from dyngen_env.wrappers import LMFeatures, TopKActions
from tests.support.envs import SMALL, Talker, random_actions
from tests.support.small import small_lm

ROWS = 5
OPTIONS = {
    "plain": {},
    "truncated": dict(length_limit="truncate"),
    "dict": dict(observation="dict"),
    "dialogue": dict(user=Talker((Feedback("?"), Feedback("well", rating=0.5))), max_turns=3, max_context_tokens=32),
}


def map_in_batches(wrap=lambda env: env, **options):
    settings = {**SMALL, "autoreset_mode": "same_step", **options}
    return as_sb3_vec_env(wrap(gym.make_vec("dyngen/Generate-v0", num_envs=ROWS, **settings)))


def one_by_one(wrap=lambda env: env, **options):
    return DummyVecEnv([lambda: wrap(gym.make("dyngen/Generate-v0", **{**SMALL, **options}))] * ROWS)


def assert_same(ours, theirs, atol=0.0):
    """Equal in type, shape, dtype and value, all the way down."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key], atol)
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for pair in zip(ours, theirs, strict=True):
            assert_same(*pair, atol)
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=atol, rtol=0)
    else:
        assert type(ours) is type(theirs) and ours == theirs, (ours, theirs)


def play_both(ours, theirs, actions, steps, atol=0.0) -> int:
    """Play the same actions in both; how many episodes ended."""
    rng, ends = np.random.default_rng(1), 0
    for env in (ours, theirs):
        env.seed(7)
    assert_same(ours.reset(), theirs.reset(), atol)
    for step in range(steps):
        if step == steps // 2:  # in the middle of episodes, with other seeds
            assert ours.seed(3) == theirs.seed(3)
            assert_same(ours.reset(), theirs.reset(), atol)
        chosen = actions(rng)
        a, b = ours.step(chosen), theirs.step(chosen)
        for info in a[3] + b[3]:
            info.get("episode", {}).pop("t", None)  # VecMonitor's wall-clock time
        assert_same(a, b, atol)
        assert_same(ours.reset_infos, theirs.reset_infos, atol)
        ends += int(a[2].sum())
    return ends


@pytest.mark.parametrize(("kind", "monitor"), [*((kind, False) for kind in OPTIONS), ("plain", True)])
def test_it_is_dummy_vec_env_without_the_loop(kind, monitor):
    ours, theirs = map_in_batches(**OPTIONS[kind]), one_by_one(**OPTIONS[kind])
    if monitor:
        ours, theirs = VecMonitor(ours), VecMonitor(theirs)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    ends = play_both(ours, theirs, lambda rng: random_actions(rng, ROWS), 240)
    assert ends >= 120


def test_envs_of_others_too():
    kind, same_step = "CartPole-v1", dict(autoreset_mode="SameStep")
    ours = as_sb3_vec_env(gym.make_vec(kind, ROWS, vectorization_mode="sync", vector_kwargs=same_step))
    theirs = DummyVecEnv([lambda: gym.make(kind)] * ROWS)
    assert play_both(ours, theirs, lambda rng: rng.integers(2, size=ROWS), 200) > 20


def test_under_the_wrappers_too():
    lm = small_lm()

    def wrap(env):
        return LMFeatures(TopKActions(env, lm, k=6), lm)

    ours, theirs = map_in_batches(wrap), one_by_one(wrap)
    # Cached decoding of one row and of several differs in the last bits.
    ends = play_both(ours, theirs, lambda rng: rng.integers(6, size=ROWS), 120, atol=1e-4)
    assert ends >= 100


def test_episode_statistics_of_gymnasium_are_those_of_vec_monitor():
    ours, theirs = map_in_batches(RecordEpisodeStatistics), VecMonitor(map_in_batches())
    for env in (ours, theirs):
        env.seed(0)
        env.reset()
    rng, ends = np.random.default_rng(0), 0
    for _ in range(40):
        actions = random_actions(rng, ROWS)
        for a, b in zip(ours.step(actions)[3], theirs.step(actions)[3], strict=True):
            assert ("episode" in a) == ("episode" in b)
            if "episode" in a:
                assert a["episode"]["r"] == pytest.approx(b["episode"]["r"], abs=1e-6)
                assert a["episode"]["l"] == b["episode"]["l"]
                ends += 1
    assert ends > 10


def test_only_what_was_cut_off_unpaid_counts_as_truncated():
    """Stable-Baselines3 adds V of `terminal_observation` to the reward where `TimeLimit.truncated` says so."""
    unpaid = dict(max_new_tokens=7, max_episode_steps=5)
    for options, truncated in ((dict(length_limit="truncate"), False), (unpaid, True)):
        env = map_in_batches(**options)
        env.reset()
        for _ in range(5):
            _, _, dones, infos = env.step(np.full(ROWS, 97))
        assert dones.all() and [info["TimeLimit.truncated"] for info in infos] == [truncated] * ROWS
        assert all(info["terminal_observation"][-1] == -1 for info in infos)


def test_reset_options_choose_what_is_played():
    ours, theirs = map_in_batches(), one_by_one()
    for options in (
        {"prompt": "yes"},
        [{"prompt": f"no {i}"} for i in range(ROWS)],
        [{"example": i} for i in range(ROWS)],
    ):
        for env in (ours, theirs):
            env.set_options(options)
        assert_same(ours.reset(), theirs.reset())
    env = map_in_batches()
    env.set_options([{"prompt": "a"}] * (ROWS - 1) + [{}])
    with pytest.raises(ValueError, match="same names"):
        env.reset()


def test_masks_images_and_attributes():
    env = map_in_batches(render_mode="rgb_array")
    env.reset()
    masks = env.env_method("action_masks")
    assert len(masks) == ROWS and masks[0].shape == (260,) and env.has_attr("action_masks")
    assert len(env.env_method("action_masks", indices=[0, 2])) == 2
    assert env.render_mode == "rgb_array" and len(env.get_images()) == ROWS and env.render().ndim == 3
    assert not any(env.env_is_wrapped(gym.Wrapper))
    env.set_attr("note", 1)
    assert env.get_attr("note", 1) == [1] and not env.has_attr("nothing_of_the_kind")
    with pytest.raises(ValueError, match="leave indices out"):
        env.set_attr("note", 2, indices=[0])
    with pytest.raises(AttributeError, match="'fork' cannot be called for single rows"):
        env.env_method("fork")
    env.close()


def test_attributes_are_found_behind_vector_wrappers():
    env = map_in_batches(wrap=lambda env: NormalizeReward(env))
    assert env.env_method("action_masks")[0].shape == (260,)
    assert all(env.env_is_wrapped(NormalizeReward))


@pytest.mark.parametrize("mode", ["next_step", "disabled"])
def test_another_autoreset_mode_is_refused(mode):
    with pytest.raises(ValueError, match='autoreset_mode="same_step"'):
        map_in_batches(autoreset_mode=mode)


def test_tensors_and_single_envs_are_refused():
    with pytest.raises(ValueError, match='output="numpy"'):
        map_in_batches(output="torch")
    with pytest.raises(ValueError, match=r"gym\.make_vec"):
        as_sb3_vec_env(gym.make("dyngen/Generate-v0", **SMALL))
