"""Rows of a batch: seeds, options, actions, outputs, copies."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded

from dyngen_env import Dialogue, Example, Feedback
from dyngen_env.envs.row_state import RowState
from dyngen_env.envs.seeding import BLOCK
from tests.support.envs import END, PROMPTS, Talker, batch, random_actions, single

TALK = dict(user=Talker((Feedback("?"),)), max_turns=3, max_context_tokens=40)


def snapshot(env):
    """All that a step or a reset could change: every field of the rows' state, as copies."""
    return {field.name: copied(getattr(env._rows, field.name)) for field in fields(RowState)}


def copied(value):
    """A value of a row's field that can be compared, whatever happens to the original."""
    if is_dataclass(value) and not isinstance(value, Example | Dialogue):
        return {field.name: copied(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, tuple | list):
        return [copied(one) for one in value]
    if isinstance(value, np.ndarray | torch.Tensor):
        return [str(value.dtype), copy.deepcopy(value.tolist())]
    return copy.deepcopy(value)


def histories(env, seeds, steps: int, rows: int, offset: int = 0) -> list:
    """For each row, what it saw and was paid when its actions come from generators of its own."""
    rngs = [np.random.default_rng(1000 + offset + row) for row in range(rows)]
    tokens, _ = env.reset(seed=seeds)
    seen = [[tokens[row].tolist()] for row in range(rows)]
    for _ in range(steps):
        actions = np.concatenate([random_actions(rng, 1) for rng in rngs])
        tokens, rewards, terminated, truncated, _ = env.step(actions)
        for row in range(rows):
            end = (bool(terminated[row]), bool(truncated[row]))
            seen[row].append((tokens[row].tolist(), float(rewards[row]), *end))
    return seen


@pytest.mark.parametrize("kwargs", [{}, TALK], ids=["silent", "talking"])
def test_a_row_does_not_depend_on_the_rows_beside_it(kwargs):
    whole = histories(batch(5, **kwargs), 40, 60, 5)
    pair = histories(batch(2, **kwargs), [43, 44], 60, 2, offset=3)
    assert pair == whole[3:]
    assert len({str(row) for row in whole}) == 5


def test_row_i_seeded_s_is_the_single_env_seeded_s_plus_i():
    rows, kwargs = 3, {**TALK, "prompts": PROMPTS}
    env = batch(rows, autoreset_mode="same_step", **kwargs)
    tokens, _ = env.reset(seed=7)
    ones = [single(**kwargs) for _ in range(rows)]
    views = [one.reset(seed=7 + row)[0] for row, one in enumerate(ones)]
    rng = np.random.default_rng(0)
    for _ in range(150):
        assert np.array_equal(tokens, views)
        actions = random_actions(rng, rows)
        tokens, rewards, terminated, truncated, _ = env.step(actions)
        for row, one in enumerate(ones):
            views[row], reward, *ended, _ = one.step(actions[row])
            assert (reward, *ended) == (rewards[row], terminated[row], truncated[row])
            if any(ended):
                views[row], _ = one.reset()


def prompts_of(env, episodes: int, **reset) -> list[list[str]]:
    out = []
    for _ in range(episodes):
        env.reset(**reset)
        reset = {}
        out.append([example.prompt for example in env.examples])
    return out


def test_seeds_as_a_list_reach_their_rows_and_none_goes_on():
    three = batch(3)
    expected = prompts_of(batch(3), 6, seed=[5, 6, 7])
    assert prompts_of(three, 6, seed=5) == expected
    going_on = [p[1] for p in prompts_of(batch(3), 9, seed=5)][6:]
    again = prompts_of(three, 3, seed=[5, None, np.int64(7)])
    assert [p[0] for p in again] == [p[0] for p in expected[:3]]
    assert [p[1] for p in again] == going_on
    assert three.np_random_seed == (5, 6, 7)


def test_every_prompt_is_played_about_equally_often():
    env = batch(500)
    played = [p for episode in prompts_of(env, 10, seed=1) for p in episode]
    counts = np.array([played.count(p) for p in PROMPTS])
    assert ((counts - 1000) ** 2 / 1000).sum() < 18.5  # 99.9% of chi-square with 4 degrees of freedom


def test_the_user_never_changes_which_prompts_are_played():
    plain = prompts_of(batch(4), 5, seed=1)
    for user in (Talker(), Talker((Feedback("?"),))):
        assert prompts_of(batch(4, user=user, max_context_tokens=40), 5, seed=1) == plain


def test_choosing_what_is_played_shifts_no_later_episode():
    expected = prompts_of(batch(2), 5, seed=3)
    env = batch(2)
    assert prompts_of(env, 1, seed=3, options={"prompt": "chosen"}) == [["chosen", "chosen"]]
    assert prompts_of(env, 1, options={"prompt": ["one", "two"]}) == [["one", "two"]]
    assert prompts_of(env, 1, options={"example": 4}) == [[PROMPTS[4], PROMPTS[4]]]
    assert prompts_of(env, 1, options={"example": np.array([0, 2])}) == [[PROMPTS[0], PROMPTS[2]]]
    assert prompts_of(env, 1) == expected[4:]


def test_options_choose_for_the_rows_that_are_reset():
    env = batch(3, autoreset_mode="disabled")
    env.reset(seed=0)
    mask = np.array([True, False, True])
    env.reset(options={"reset_mask": mask, "prompt": ["one", Example("two", reference="2")]})
    assert [e.prompt for e in env.examples][::2] == ["one", "two"]
    assert env.examples[2].reference == "2"


def test_outputs_are_equal_as_arrays_and_tensors():
    for mode in ("next_step", "same_step", "disabled"):
        for kwargs in ({}, {"observation": "dict"}, {"observation": "text"}, TALK):
            arrays = batch(3, autoreset_mode=mode, **kwargs)
            tensors = batch(3, autoreset_mode=mode, output="torch", **kwargs)
            rng, count, ended = np.random.default_rng(0), 0, np.zeros(3, dtype=bool)
            left, right = arrays.reset(seed=1), tensors.reset(seed=1)
            for _ in range(60):
                assert_alike(left[0], right[0])
                if mode == "disabled" and ended.any():
                    left, right = (env.reset(options={"reset_mask": ended}) for env in (arrays, tensors))
                    assert_alike(left[0], right[0])
                actions = random_actions(rng, 3)
                left, right = arrays.step(actions), tensors.step(torch.from_numpy(actions))
                assert right[1].dtype == torch.float32 and right[2].dtype == right[3].dtype == torch.bool
                np.testing.assert_allclose(left[1], right[1].numpy(), rtol=1e-6)
                assert_alike(left[2:4], tuple(right[2:4]))
                ended = left[2] | left[3]
                count += ended.sum()
                assert left[4].keys() == right[4].keys()
                if mode == "same_step" and ended.any():
                    assert_alike_at(left[4]["final_obs"], right[4]["final_obs"], ended)
                    assert_infos(left[4]["final_info"], right[4]["final_info"])
                elif ended.any():
                    assert_infos(left[4], right[4])
            assert count > 10


def assert_alike(array, tensor):
    if isinstance(array, dict):
        assert array.keys() == tensor.keys()
        for key in array:
            assert_alike(array[key], tensor[key])
    elif isinstance(array, tuple) and not isinstance(array[0], str):
        for a, t in zip(array, tensor, strict=True):
            assert_alike(a, t)
    else:
        assert np.array_equal(array, tensor)
        assert isinstance(array, tuple) or array.dtype == tensor.numpy().dtype


def assert_alike_at(array, tensor, rows):
    for row in np.flatnonzero(rows):
        one = {k: v[row] for k, v in tensor.items()} if isinstance(tensor, dict) else tensor[row]
        assert_alike(array[row], one) if not isinstance(one, str) else np.testing.assert_equal(array[row], one)


def assert_infos(arrays, tensors):
    """Equal where the masks say so. Tensors report each term in every step, with an empty mask."""
    for key in arrays:
        if key == "reward_terms":
            assert_infos(arrays[key], tensors[key])
        elif key.startswith("_"):
            assert arrays[key].tolist() == tensors[key].tolist()
        else:
            for row in np.flatnonzero(arrays[f"_{key}"]):
                assert arrays[key][row] == tensors[key][row]
    for key in tensors.keys() - arrays.keys():
        assert not key.startswith("_") or not tensors[key].any()


def test_the_returned_arrays_are_the_callers_own():
    env = batch(2)
    tokens, _ = env.reset(seed=0)
    before = snapshot(env)
    tokens[:] = 5
    assert snapshot(env) == before
    tokens, rewards, terminated, truncated, _ = env.step(np.array([97, 257]))
    before = snapshot(env)
    for array in (tokens, rewards, terminated, truncated):
        array[:] = 1
    assert snapshot(env) == before


class Failing:
    """A task, a user and a reward in one; the part that is named in `fails` raises."""

    answers, fails = True, ""

    def _may_fail(self, part):
        if part == self.fails:
            raise RuntimeError(f"{part} fails")

    def sample(self, rng):
        self._may_fail("task")
        return Example(f"prompt {rng.integers(10)}")

    def begin(self, examples, rngs):
        self._may_fail("begin")
        return [{"mood": int(rng.integers(10))} for rng in rngs]

    def reply(self, dialogues, rngs):
        self._may_fail("reply")
        return [Feedback("ok", ends=len(d.completions) > 1) for d in dialogues]

    def pay(self, text):
        self._may_fail("reward")
        return float(len(text))


def with_failing(mode):
    parts = Failing()
    env = batch(3, user=parts, prompts=parts, reward=parts.pay, max_turns=3, max_context_tokens=60, autoreset_mode=mode)
    env.reset(seed=2)
    for token in (97, END, 98):
        env.step(np.full(3, token))
    return parts, env


@pytest.mark.parametrize(
    ("mode", "part"),
    [
        *((mode, part) for mode in ("next_step", "same_step", "disabled") for part in ("reply", "reward")),
        *((mode, part) for mode in ("next_step", "same_step") for part in ("task", "begin")),
    ],
)
def test_a_step_that_fails_changes_nothing(mode, part):
    (parts, env), (_, undisturbed) = with_failing(mode), with_failing(mode)
    if mode == "next_step" and part in ("task", "begin"):
        for e in (env, undisturbed):
            e.step(np.array([END, 97, END]))  # the next step resets two rows
    before = snapshot(env)
    parts.fails = part
    for _ in range(BLOCK):  # seeds that were drawn in vain would run out
        with pytest.raises(RuntimeError, match=f"{part} fails"):
            env.step(np.array([END, END, 97]))
        assert snapshot(env) == before
    parts.fails = ""
    for token in (END, 97, END, END, 98):
        if mode != "disabled" or not env.over:
            mine, theirs = env.step(np.full(3, token)), undisturbed.step(np.full(3, token))
            assert all(np.array_equal(a, b) for a, b in zip(mine[:4], theirs[:4], strict=True))
    assert snapshot(env) == snapshot(undisturbed)


@pytest.mark.parametrize("part", ["task", "begin"])
def test_a_reset_that_fails_changes_nothing(part):
    parts, env = with_failing("disabled")
    before, parts.fails = snapshot(env), part
    for options in ({}, {"reset_mask": np.array([True, False, True])}):
        with pytest.raises(RuntimeError, match=f"{part} fails"):
            env.reset(seed=5, options=options)
        assert snapshot(env) == before


def test_rows_that_are_reset_remember_nothing():
    """Every field of reset rows is as in an env that has played nothing, and every field of the others as it was."""
    (_, env), parts = with_failing("disabled"), Failing()
    fresh = batch(3, user=parts, prompts=parts, reward=parts.pay, max_turns=3, max_context_tokens=60)
    seeds, mask = [7, None, 9], np.array([True, False, True])
    fresh.reset(seed=seeds)
    kept = env._rows.take([1])
    env.reset(seed=seeds, options={"reset_mask": mask})
    for rows, expected in (([0, 2], fresh._rows.take([0, 2])), ([1], kept)):
        for field in fields(RowState):
            mine, theirs = (copied(getattr(state, field.name)) for state in (env._rows.take(rows), expected))
            assert mine == theirs, field.name


WRONG = {
    "too great": (np.array([97, 260, 97]), "action 260 of row 1 is out of range: expected 0 <= token < 260"),
    "negative": ([97, 97, -1], "action -1 of row 2 is out of range"),
    "great unsigned": (np.array([2**64 - 1, 0, 0], dtype=np.uint64), "action 18446744073709551615 of row 0"),
    "float": (np.array([1.0, 2.0, 3.0]), "dtype float64"),
    "bool": (np.array([True, True, False]), "dtype bool"),
    "text": (["a", "b", "c"], "dtype <U1"),
    "nothing": (None, "dtype object"),
    "too few": (np.array([1, 2]), r"shape \(2,\): expected \(3,\)"),
    "a column": (np.array([[1], [2], [3]]), r"shape \(3, 1\): expected \(3,\)"),
    "one": (5, r"shape \(\): expected \(3,\)"),
    "float tensor": (torch.tensor([1.0, 2.0, 3.0]), "dtype torch.float32"),
    "bool tensor": (torch.tensor([True, True, True]), "dtype torch.bool"),
    "complex tensor": (torch.zeros(3, dtype=torch.complex64), "dtype torch.complex64"),
    "tensor too great": (torch.tensor([97, 97, 10**9]), "action 1000000000 of row 2"),
    "tensor of two dimensions": (torch.zeros(3, 1, dtype=torch.int64), r"shape \(3, 1\)"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("kwargs", [{}, TALK], ids=["silent", "talking"])
def test_wrong_actions_are_named_and_change_no_row(name, kwargs):
    actions, message = WRONG[name]
    env, undisturbed = batch(3, **kwargs), batch(3, **kwargs)
    for e in (env, undisturbed):
        e.reset(seed=2)
        e.step(np.array([97, 97, 98]))
    before = snapshot(env)
    with pytest.raises(ValueError, match=message):
        env.step(actions)
    assert snapshot(env) == before
    for token in (97, 98, 99):
        mine, theirs = env.step(np.full(3, token)), undisturbed.step(np.full(3, token))
        assert all(np.array_equal(a, b) for a, b in zip(mine[:4], theirs[:4], strict=True))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, torch.uint8, torch.int32, torch.int64])
def test_any_integer_type_will_do(dtype):
    env = batch(2)
    env.reset(seed=0)
    actions = torch.tensor([97, 98], dtype=dtype) if isinstance(dtype, torch.dtype) else np.array([97, 98], dtype)
    env.step(actions)
    assert env.state.tokens.gather(1, env.state.length[:, None] - 1).flatten().tolist() == [97, 98]


def test_rows_that_await_their_reset_are_not_validated():
    for dead in (10**9, -5):
        env = batch(2)
        env.reset(seed=0)
        env.step(np.array([257, 97]))
        env.step(np.array([dead, 97]))
        assert env.state.live.all()
        env.step(np.array([257, 97]))
        with pytest.raises(ValueError, match="of row 1"):
            env.step(np.array([dead, 260]))


@pytest.mark.parametrize("token", [256, 259])
def test_an_illegal_token_ends_the_episode_and_is_paid_for_but_never_raises(token):
    env = batch(2, reward="length(3)", prompts=["A"])
    env.reset(seed=0)
    env.step(np.array([97, 97]))
    tokens, rewards, terminated, truncated, infos = env.step(np.array([token, 98]))
    assert terminated.tolist() == [True, False] and not truncated.any()
    assert infos["finish_reason"].tolist() == ["illegal", None] and infos["text"][0] == "a"
    assert infos["reward_terms"]["illegal"].tolist() == [-1.0, 0.0]
    assert rewards.tolist() == [pytest.approx(1 / 3 - 1), 0.0]
    assert tokens[0, 3] == token
    assert not env.action_masks()[token] and not env.legal_tokens()[token]


def test_legal_tokens_are_text_and_the_ends():
    legal = batch(1).action_masks()
    assert legal.dtype == bool and legal.shape == (260,)
    assert np.flatnonzero(~legal).tolist() == [256, 259]


def test_a_batch_wants_a_reset_first_and_after_an_end_without_autoreset():
    env = batch(2, autoreset_mode="disabled")
    for call in (lambda: env.step([1, 1]), lambda: env.state, lambda: env.fork([0])):
        with pytest.raises(ResetNeeded, match="reset"):
            call()
    with pytest.raises(ResetNeeded, match="first reset must be of all rows"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=0)
    env.step([257, 97])
    before = snapshot(env)
    with pytest.raises(ResetNeeded, match=r"rows \[0\] have ended"):
        env.step([97, 97])
    assert snapshot(env) == before
    env.reset(options={"reset_mask": np.array([True, False])})
    env.step([97, 97])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"promt": "x"}, "unknown reset option 'promt': expected prompt, example or reset_mask"),
        ({"prompt": 5}, "expected .*str"),
        ({"prompt": ["a"]}, "1 entries for 2 rows"),
        ({"prompt": "x" * 30}, "longer than"),
        ({"prompt": "x", "example": 0}, "both prompt and example"),
        ({"example": 99}, "example 99 does not exist: expected 0 <= example < 5"),
        ({"example": -1}, "example -1 does not exist"),
        ({"example": 1.5}, "expected .*int"),
        ({"example": [0, "1"]}, "expected .*int"),
        ({"reset_mask": np.array([1, 0])}, "must be bool"),
        ({"reset_mask": np.array([False, False])}, "at least one True"),
        ({"reset_mask": np.array([True])}, "shape"),
    ],
)
def test_wrong_reset_options_are_named_and_change_nothing(options, message):
    env, undisturbed = batch(2), batch(2)
    env.reset(seed=0), undisturbed.reset(seed=0)
    before = snapshot(env)
    with pytest.raises(ValueError, match=message):
        env.reset(seed=9, options=options)
    assert snapshot(env) == before
    assert np.array_equal(env.reset()[0], undisturbed.reset()[0])


RULE = "expected an integer of at least 0, or a list with one .or None. for each of the 2 rows"


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        ([1], ValueError, "1 seeds for 2 rows"),
        ([1, 2, 3], ValueError, "3 seeds for 2 rows"),
        ([], ValueError, "0 seeds for 2 rows"),
        (-1, ValueError, "seed -1 is negative"),
        ([1, -2], ValueError, "seed -2 is negative"),
        (np.array([1, -2]), ValueError, "seed -2 is negative"),
        (1.5, TypeError, "seed=1.5 is a float"),
        (np.float64(1), TypeError, "is a float64"),
        ("7", TypeError, "seed='7' is a str"),
        ("77", TypeError, "seed='77' is a str"),
        (b"77", TypeError, "is a bytes"),
        (True, TypeError, "seed=True is a bool"),
        ({1, 2}, TypeError, "is a set"),
        ([1, 1.5], TypeError, "seed 1.5 is a float"),
        ([1, "2"], TypeError, "seed '2' is a str"),
        ([None, True], TypeError, "seed True is a bool"),
        (np.array([1.0, 2.0]), TypeError, "is a float64"),
    ],
)
def test_wrong_seeds_are_named_and_change_nothing(seed, error, message):
    env, undisturbed = batch(2), batch(2)
    env.reset(seed=0), undisturbed.reset(seed=0)
    with pytest.raises(error, match=f"{message}.*: {RULE}"):
        env.reset(seed=seed)
    assert np.array_equal(env.reset()[0], undisturbed.reset()[0])


@pytest.mark.parametrize("seed", [np.int64(5), (5, 6), np.array([5, 6]), np.array([5, 6], dtype=np.uint8), range(5, 7)])
def test_seeds_may_be_any_integers(seed):
    env = batch(2)
    env.reset(seed=seed)
    assert env.np_random_seed == (5, 6) and all(type(seed) is int for seed in env.np_random_seed)


@pytest.mark.parametrize("kwargs", [{}, TALK], ids=["silent", "talking"])
@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_a_fork_does_what_the_originals_do_and_disturbs_nothing(mode, kwargs):
    rows, rng = [2, 0, 0, 1], np.random.default_rng(5)
    env, undisturbed = batch(3, autoreset_mode=mode, **kwargs), batch(3, autoreset_mode=mode, **kwargs)
    for e in (env, undisturbed):
        e.reset(seed=4)
    for _ in range(17):
        actions = random_actions(rng, 3)
        env.step(actions), undisturbed.step(actions)
    before = snapshot(env)
    twin = env.fork(rows)
    assert twin.num_envs == 4 and twin.observation_space.shape == (4, env.max_context_tokens)
    script = [random_actions(rng, 3) for _ in range(200)]
    futures = [twin.step(actions[rows]) for actions in script]
    assert snapshot(env) == before
    for actions, future in zip(script, futures, strict=True):
        mine, theirs = env.step(actions), undisturbed.step(actions)
        for a, b, c in zip(mine[:4], theirs[:4], future[:4], strict=True):
            assert np.array_equal(a, b) and np.array_equal(a[rows], c)
        assert repr(mine[4]) == repr(theirs[4])


def test_a_fork_with_another_seed_goes_another_way():
    env = batch(2, **TALK)
    env.reset(seed=4)
    one, other, again = env.fork([0, 0]), env.fork([0, 0], reseed=1), env.fork([0, 0], reseed=1)
    seen = {0: [], 1: [], 2: []}
    for _ in range(60):
        for i, twin in enumerate((one, other, again)):
            seen[i].append(twin.step([97, 97])[0])
    assert np.array_equal(seen[1], seen[2]) and not np.array_equal(seen[0], seen[1])
    assert all(np.array_equal(*tokens) for tokens in seen[0])
    assert not all(np.array_equal(*tokens) for tokens in seen[1])  # branches differ from each other


@pytest.mark.parametrize("rows", [[], [3], [-1]])
def test_only_rows_that_are_there_can_be_forked(rows):
    env = batch(3)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="cannot fork rows"):
        env.fork(rows)


def test_ten_thousand_rows_are_one_step():
    env = batch(10_000, output="torch", autoreset_mode="same_step", reward="1")
    tokens, _ = env.reset(seed=0)
    assert tokens.shape == (10_000, 24)
    for _ in range(5):
        _, rewards, terminated, *_ = env.step(torch.full((10_000,), 97))
    assert rewards.sum() == 10_000 and terminated.all()
