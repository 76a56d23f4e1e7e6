"""One batch, single envs in turn, single envs in workers: the same trajectories, infos included, in every mode."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from dyngen_env import Feedback
from tests.support.envs import END, MIXED, SMALL, Talker, batch, random_actions, single

ROWS = 4
MODES = list(AutoresetMode)
KINDS: dict[str, dict[str, Any]] = {
    "tokens": {},
    "dict": {"observation": "dict"},
    "text": {"observation": "text", "stop": ["zz", "ee"]},
    "truncating": {"length_limit": "truncate", "reward": lambda text, prompt: len(text) - len(prompt)},
    "talking": {"user": Talker((Feedback("?"),)), "max_turns": 3, "max_context_tokens": 40},
    "coming back": {"user": "returning(simulated, episodes=2)", "max_turns": 2, "max_context_tokens": 64},
    "mixed": MIXED,
    "mixed, few steps": {**MIXED, "max_episode_steps": 4, "task_choice": "rows"},
    "few steps": {"max_episode_steps": 3, "reward": "length(3) + delayed(keywords('a'))"},
    "few steps, talking": {
        "user": Talker((Feedback("?"),)), "max_turns": 3, "max_context_tokens": 40, "max_episode_steps": 7,
        "length_limit": "truncate",
    },
}  # fmt: skip


def assert_same(left: Any, right: Any, where: str = "") -> None:
    """Equal through and through: keys, types, dtypes, shapes, values."""
    assert type(left) is type(right), f"{where}: {type(left)} and {type(right)}"
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}[{key!r}]")
    elif isinstance(left, tuple | list):
        assert len(left) == len(right), where
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype and left.shape == right.shape, where
        if left.dtype == object:
            assert_same(list(left), list(right), where)
        else:
            assert np.array_equal(left, right), f"{where}: {left} and {right}"
    else:
        assert left == right, f"{where}: {left!r} and {right!r}"


def play(envs: dict[str, Any], mode: AutoresetMode, steps: int, reset_halfway: bool = True, seed: int = 3) -> int:
    """Step all of them with the same actions and compare all that they return. The number of episodes that ended."""
    rng = np.random.default_rng(seed)
    native = envs.pop("native")

    def compare(call):
        mine = call(native)
        for name, env in envs.items():
            assert_same(mine, call(env), name)
        return mine

    observations, _ = compare(lambda env: env.reset(seed=seed))
    assert native.observation_space.contains(observations)
    ended, count = np.zeros(native.num_envs, dtype=bool), 0
    for step in range(steps):
        if mode == AutoresetMode.DISABLED and ended.any():
            seeds = [int(s) if s else None for s in rng.integers(3, size=native.num_envs)]
            mask = ended.copy()
            observations, _ = compare(lambda env: env.reset(seed=seeds, options={"reset_mask": mask.copy()}))  # noqa: B023
        if reset_halfway and step == steps // 2:
            observations, _ = compare(lambda env: env.reset())
        actions = random_actions(rng, native.num_envs)
        observations, _, terminated, truncated, _ = compare(lambda env: env.step(actions))  # noqa: B023
        assert native.observation_space.contains(observations)
        ended = terminated | truncated
        count += int(ended.sum())
    for env in (native, *envs.values()):
        env.close()
        env.close()
    return count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_batch_does_what_single_envs_do(mode, kind):
    kwargs = KINDS[kind]
    envs = {
        "native": batch(ROWS, autoreset_mode=mode, **kwargs),
        "sync": SyncVectorEnv([partial(single, **kwargs)] * ROWS, autoreset_mode=mode),
    }
    assert envs["native"].observation_space == envs["sync"].observation_space
    assert play(envs, mode, 180) > 60


@pytest.mark.parametrize(("mode", "kind"), [(MODES[0], "tokens"), (MODES[1], "dict"), (MODES[2], "truncating")])
def test_workers_do_the_same_after_threaded_torch_in_the_parent(mode, kind):
    torch.set_num_threads(2)
    (torch.randn(400, 400) @ torch.randn(400, 400)).sum()  # a forked child's threaded torch would now hang
    kwargs = KINDS[kind]
    envs = {
        "native": batch(2, autoreset_mode=mode, **kwargs),
        "async": AsyncVectorEnv([partial(single, **kwargs)] * 2, autoreset_mode=mode, context="fork"),
    }
    assert play(envs, mode, 200) > 40


TEXT = {"observation": "text", "prompts": ["漢字 é \U0001f600"], "max_context_tokens": 40}


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_workers_can_send_any_text(mode):
    workers = AsyncVectorEnv([partial(single, **TEXT)] * 2, shared_memory=False, context="fork", autoreset_mode=mode)
    envs = {"native": batch(2, autoreset_mode=mode, **TEXT), "async": workers}
    # Without shared memory Gymnasium 1.4 forgets, at an explicit reset, that a row awaited its reset no more.
    assert play(envs, mode, 40, reset_halfway=False) > 10


def test_text_through_shared_memory_is_refused_because_it_would_never_change():
    with pytest.raises(ValueError, match="shared_memory=False") as error:
        AsyncVectorEnv([partial(single, **TEXT)] * 2)
    assert "shared_memory=False" in str(error.value.__cause__)


SPAWN = """
import gymnasium as gym, numpy as np, torch
if __name__ == "__main__":
    torch.set_num_threads(2)
    (torch.randn(400, 400) @ torch.randn(400, 400)).sum()
    kwargs = {kwargs!r}
    id = "dyngen_env:dyngen/Generate-v0"
    workers = gym.make_vec(
        id, num_envs=1, vectorization_mode="async", vector_kwargs=dict(context="spawn"), **kwargs
    )
    native = gym.make_vec(id, num_envs=1, vectorization_mode="vector_entry_point", **kwargs)
    a, b = workers.reset(seed=1)[0], native.reset(seed=1)[0]
    assert np.array_equal(a, b)
    for token in np.random.default_rng(0).integers(97, 123, size=(20, 1)):
        a, b = workers.step(token), native.step(token)
        assert all(np.array_equal(x, y) for x, y in zip(a[:4], b[:4]))
        assert repr(a[4]) == repr(b[4])
    workers.close(); native.close()
    print("played")
"""


def test_spawned_workers_know_the_prefixed_id(tmp_path):
    script = tmp_path / "spawn.py"
    script.write_text(SPAWN.format(kwargs=SMALL))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": ".", "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "played\n", "")


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("kind", ["tokens", "talking"])
def test_max_episode_steps_means_what_gymnasiums_time_limit_means(mode, kind):
    """Gymnasium wraps single envs in `TimeLimit`, which adds nothing to the infos of the env that it cuts off."""
    kwargs = {**SMALL, **KINDS[kind], "max_episode_steps": 4, "num_envs": ROWS}
    native = gym.make_vec("dyngen/Generate-v0", autoreset_mode=mode, **kwargs)
    assert native.spec.kwargs["max_episode_steps"] == 4
    sync = gym.make_vec(
        "dyngen/Generate-v0", vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **kwargs
    )
    rng, cuts, both = np.random.default_rng(5), 0, 0
    assert_same(native.reset(seed=3)[0], sync.reset(seed=3)[0])
    for _ in range(200):
        actions = random_actions(rng, ROWS)
        mine, theirs = native.step(actions), sync.step(actions)
        assert_same(mine[:4], theirs[:4])
        terminated, truncated = mine[2:4]
        infos, others = (
            one[4].get("final_info", {}) if mode == AutoresetMode.SAME_STEP else one[4] for one in (mine, theirs)
        )
        for row in np.flatnonzero(terminated | truncated):
            told = "finish_reason" in others and others["_finish_reason"][row]
            assert infos["_finish_reason"][row] and infos["_text"][row] and infos["_reward_terms"][row]
            assert told == (infos["finish_reason"][row] != "steps")
            if told:
                for key in ("finish_reason", "text"):
                    assert infos[key][row] == others[key][row]
            cuts, both = cuts + (not told), both + (terminated[row] and truncated[row])
        if mode == AutoresetMode.DISABLED and (terminated | truncated).any():
            options = {"reset_mask": terminated | truncated}
            assert_same(native.reset(options=dict(options))[0], sync.reset(options=dict(options))[0])
    assert cuts > 20 and both > 2


@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_an_episode_that_is_cut_off_amid_a_turn_tells_what_was_written(output):
    user = Talker((Feedback("ok", 2.0),))
    kwargs = dict(user=user, max_turns=5, max_new_tokens=5, max_context_tokens=60, prompts=["A"], output=output)
    env = batch(2, max_episode_steps=5, reward="1 + delayed(rating)", render_mode="ansi", **kwargs)
    env.reset(seed=0)
    for letters in ("aa", (END, "b"), "cc", "dd"):
        *_, ended, cut, infos = env.step(np.array([ord(a) if isinstance(a, str) else a for a in letters]))
        assert not ended.any() and not cut.any() and infos == {}
    _, rewards, terminated, truncated, infos = env.step(np.array([ord("e"), END]))
    assert not terminated.any() and truncated.all() and rewards.tolist() == [0.0, 1.0]
    assert list(infos["finish_reason"]) == ["steps", "steps"] and list(infos["text"]) == ["cde", "abcd"]
    assert infos["reward_terms"]["constant"].tolist() == [1.0, 1.0]  # of the turn that was finished
    assert infos["reward_terms"]["rating"].tolist() == [0.0, 0.0]  # withheld to an end that never came
    turn = [
        {"role": "user", "text": "A"},
        {"role": "agent", "text": "a"},
        {"role": "user", "text": "ok", "rating": 2.0},
    ]
    assert infos["dialogue"][0] == [*turn, {"role": "agent", "text": "cde"}]
    assert infos["dialogue"][1] == [turn[0], {"role": "agent", "text": "abcd"}, turn[2]]
    assert all("ended: steps" in frame for frame in env.render()) and "cde" in env.render()[0]
    assert not env.state.live.any() and env.over


@pytest.mark.parametrize("most", [0, -2, 2.5, "3", True])
def test_a_number_of_steps_that_makes_no_sense(most):
    with pytest.raises(ValueError, match="max_episode_steps must be an integer of at least 1, got"):
        batch(1, max_episode_steps=most)


@pytest.mark.parametrize("most", [None, -1])
def test_no_limit_of_steps(most):
    env = batch(1, max_episode_steps=most)
    env.reset(seed=0)
    assert not any(env.step([97])[3][0] for _ in range(4)) and env.step([97])[2][0]


def next_step(env, ended):
    """NEXT_STEP, the default: the step after an end resets, its action does not matter, its reward is 0."""
    tokens, rewards, terminated, truncated, infos = env.step(np.array([10**6, ord("b")]))
    assert (rewards[0], terminated[0], truncated[0], infos) == (0.0, False, False, {})
    assert tokens[0].tolist() != ended[0].tolist() and tokens[0, 2] == -1
    assert tokens[1, 2:4].tolist() == [ord("a"), ord("b")]


@pytest.mark.parametrize(
    ("mode", "last_token", "keys"),
    [
        (AutoresetMode.NEXT_STEP, 257, {"finish_reason", "text", "reward_terms"}),
        (AutoresetMode.SAME_STEP, -1, {"final_obs", "final_info"}),
        (AutoresetMode.DISABLED, 257, {"finish_reason", "text", "reward_terms"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_step_that_ends_an_episode(mode, last_token, keys):
    env = batch(2, prompts=["A"], autoreset_mode=mode)
    env.reset(seed=0)
    tokens, _, terminated, truncated, infos = env.step(np.array([257, ord("a")]))
    assert tokens[:, 2].tolist() == [last_token, ord("a")]
    assert terminated.tolist() == [True, False] and not truncated.any()
    assert infos.keys() == keys | {f"_{key}" for key in keys}
    if mode == AutoresetMode.NEXT_STEP:
        next_step(env, tokens)
    if mode == AutoresetMode.SAME_STEP:
        assert infos["final_obs"][0][:3].tolist() == [256, ord("A"), 257] and infos["final_obs"][1] is None
        assert infos["final_info"]["finish_reason"].tolist() == ["stop", None]


def test_rows_that_were_not_reset_come_back_unchanged():
    env = batch(3, autoreset_mode="disabled")
    env.reset(seed=0)
    env.step(np.array([257, 97, 97]))
    before = env.state.tokens.clone()
    options = {"reset_mask": np.array([True, False, False])}
    tokens, infos = env.reset(options=options)
    assert list(options) == ["reset_mask"]  # not popped: RecordEpisodeStatistics reads it afterwards
    assert infos == {} and np.array_equal(tokens[1:], before[1:]) and tokens[0, 1] != -1


@pytest.mark.parametrize("name", ["next_step", "NextStep", "NEXT_STEP", AutoresetMode.NEXT_STEP])
def test_modes_go_by_any_of_their_names(name):
    env = batch(1, autoreset_mode=name)
    assert env.autoreset_mode is env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert "autoreset_mode" not in type(env).metadata
