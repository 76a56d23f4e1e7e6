"""Rewards within bounds, and brought to mean 0 and deviation 1: by hand, and against NumPy."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from dyngen_env import Feedback
from dyngen_env.rewards import Clip, Normalised, Reward, make_reward
from dyngen_env.rewards.transforms.normalise import refuse_moving_scales
from dyngen_env.testing import check_reward
from tests.support.envs import END, Talker, batch, single, write


class Byte(Reward):
    """Pays at each token what the token is, less 97."""

    name, per_token = "byte", True

    def __call__(self, transition):
        return (transition.actions - 97).double()


def paid(reward, *texts, **kwargs):
    """What one env pays for episodes of these texts."""
    env = single(reward=reward, max_new_tokens=20, max_context_tokens=60, **kwargs)
    out = []
    for text in texts:
        env.reset(seed=0)
        out.append(write(env, text, END)[1])
    return out


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (Clip(len, 2, 3), [2, 2, 2, 3]),
        (Clip(len), [0, 1, 1, 1]),
        ("clip(10*length(2) - 4, -1, 5.5)", [-1, 1, 1, 1]),
        ("clip(length(2) + length(2), high=0.5)", [0, 0.5, 0.5, 0.5]),
        (2 * Clip(len, high=2), [0, 2, 4, 4]),
    ],
)
def test_clip(reward, expected):
    assert paid(reward, "", "a", "bc", "def") == expected


def test_nothing_is_not_clipped():
    """Between the ends of turns nothing is paid, whatever the bounds; a reward by token is clipped by token."""
    env = single(reward=Clip(len, 2, 3))
    env.reset(seed=0)
    assert [env.step(token)[1] for token in (97, END)] == [0, 2]
    env = batch(2, reward=Clip(Byte(), 0.5, 2))
    env.reset(seed=0)
    assert env.step([97, 99])[1].tolist() == [0.5, 2]
    env.step([END, 99])
    assert env.step([97, 99])[1].tolist() == [0, 2]  # the first row's reset


def test_fixed_figures():
    assert paid(Normalised(len, mean=1, std=2), "", "a", "abc") == [-0.5, 0, 1]
    assert paid("normalised(length(2), mean=0.5, std=0.25)", "a", "a b") == [0, 2]


def test_figures_of_what_was_paid():
    """Lengths 1, 3, 2: means 1, 2, 2 and deviations 0, 1, √(2/3)."""
    assert paid(Normalised(len), "a", "abc", "ab", "abc") == pytest.approx([0, 1, 0, (3 - 2.25) / np.std([1, 3, 2, 3])])


def test_figures_of_a_batch_by_token():
    env, rng = batch(4, reward=Normalised(Byte()), max_new_tokens=5), np.random.default_rng(0)
    env.reset(seed=0)
    seen = []
    for _ in range(4):
        actions = rng.integers(97, 123, size=4)
        seen.extend(actions - 97)
        assert np.allclose(env.step(actions)[1], (actions - 97 - np.mean(seen)) / np.std(seen))


def test_every_env_has_its_own_figures():
    reward = Normalised(len)
    assert paid(reward, "a", "abc") == paid(reward, "a", "abc") == [0, 1]


def test_a_fork_goes_on_with_its_own():
    env = single(reward=Normalised(len))
    env.reset(seed=0)
    write(env, "a", END)
    twin = env.fork()
    for one in (env, twin):
        one.reset(seed=0)
        assert write(one, "abc", END)[1] == 1


def test_turns_of_a_dialogue_are_paid_each():
    user = Talker((Feedback("yes", 4.0), Feedback("no", -4.0, True)))
    env = single(user=user, reward="clip(rating, -0.5, 0.5)", max_turns=3, max_context_tokens=60)
    env.reset(seed=0)
    assert [env.step(token)[1] for token in (97, END, 97, END)] == [0, 0.5, 0, -0.5]


def test_names():
    env = batch(1, reward="clip(sentiment) + normalised(length*sentiment, 0, 1) + clip(sentiment + length)")
    names = ["clip(sentiment)", "normalised(length*sentiment)", "clip(sentiment + length)", "illegal"]
    assert env.reward_names == names


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("clip(length, 1, 0)", r"clip to \[1, 0\]: expected two numbers, the lower one first"),
        ("clip(length, 'a', 'b')", "clip to"),
        ("clip(length, low=None)", "clip to"),
        ("normalised(length, mean=1)", "expected both, std above 0, or neither"),
        ("normalised(length, 0, 0)", "expected both"),
        ("normalised(length, 0, 'x')", "expected both"),
    ],
)
def test_wrong_figures(expression, message):
    with pytest.raises(ValueError, match=message):
        make_reward(expression)


def test_they_are_rewards():
    check_reward("clip(sentiment + length, -0.2, 0.2) + normalised(length, 0.5, 0.1)", steps=30)


def test_absorbed_rows_do_not_count():
    reward = Normalised(Byte())
    env = batch(2, reward=reward)
    env.reset(seed=0)
    env.step([END, 98])
    env.step([120, 100])  # the first row is reset, its action means nothing
    bound = env.reward.terms()[0][1]
    values = torch.tensor([END - 97, 1, 3]).double()
    assert (bound.seen.count, bound.seen.mean) == (3, float(values.mean()))
    assert bound.seen.std == pytest.approx(float(values.std(correction=0)))


@pytest.mark.parametrize(
    ("expression", "moves"),
    [
        ("normalised(length)", True),
        ("sentiment + 0.5*delayed(clip(normalised(length)*sentiment), 'episode')", True),
        ("shaped(sentiment, normalised(length))", True),
        ("normalised(length, 0.5, 0.25)", False),
        ("clip(sentiment)", False),
    ],
)
def test_a_scale_that_moves_is_refused_where_policies_are_compared(expression, moves):
    refused = pytest.raises(ValueError, match=r"normalised\(.* fits its scale anew .* mean=0.1, std=0.4")
    with refused if moves else nullcontext():
        refuse_moving_scales(make_reward(expression))
