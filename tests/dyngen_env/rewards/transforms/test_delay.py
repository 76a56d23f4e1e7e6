"""When rewards are paid: by hand, and always the same sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dyngen_env import Feedback
from dyngen_env.rewards import Reward, delayed, make_reward
from dyngen_env.testing import check_reward
from tests.support.envs import BOS, END, Talker, batch, random_actions, single

USER = Talker((Feedback("go on", 2.0), Feedback("bye", -4.0, True)))


class Vowels(Reward):
    """Pays for each vowel when it is written."""

    name, per_token = "vowels", True

    def __call__(self, transition):
        return torch.isin(transition.actions, torch.tensor([97, 101, 105, 111, 117])).float()


def two_turns(reward, *tokens):
    """The payments of "ab", "c e" or other tokens, and the terms."""
    kwargs = dict(prompts=["A"], user=USER, max_turns=3, max_new_tokens=30, max_context_tokens=60)
    env = single(**kwargs, reward=reward)
    env.reset(seed=0)
    steps = [env.step(token) for token in tokens or (*b"ab", END, *b"c e", END)]
    return [step[1] for step in steps], steps[-1][-1].get("reward_terms")


@pytest.mark.parametrize(
    ("reward", "to", "paid"),
    [
        (len, "token", [1, 1, 0, 1, 1, 1, 0]),
        (len, "turn", [0, 0, 2, 0, 0, 0, 3]),
        (len, "episode", [0, 0, 0, 0, 0, 0, 5]),
        ("length(2)", "token", [0.5, 0, 0, 0.5, 0, 0.5, 0]),  # "c", "c ", "c e": 1, 1, 2 words
        ("rating", "token", [0, 0, 0.5, 0, 0, 0, -1]),  # nobody can know it before
        ("rating", "turn", [0, 0, 0.5, 0, 0, 0, -1]),
        ("rating", "episode", [0, 0, 0, 0, 0, 0, -0.5]),
        (Vowels(), "token", [1, 0, 0, 0, 0, 1, 0]),
        (Vowels(), "turn", [0, 0, 1, 0, 0, 0, 1]),
        (Vowels(), "episode", [0, 0, 0, 0, 0, 0, 2]),
    ],
)
def test_when_it_is_paid(reward, to, paid):
    steps, terms = two_turns(delayed(make_reward(reward), to))
    assert steps == paid and list(terms.values()) == [sum(paid)]


def test_parts_are_moved_each_for_itself_and_keep_their_names():
    steps, terms = two_turns("delayed(rating - 2*length(2)) + length(1)")
    # length(2) is 0.5 and 1; length(1) is 1 and 0
    assert steps == [0, 0, 1, 0, 0, 0, (0.5 - 1) - 2 * (0.5 + 1) + 0]
    assert terms == {"rating": -0.5, "length": -3.0, "length_2": 1.0}


def test_an_illegal_token_ends_the_waiting_and_is_paid_once():
    steps, terms = two_turns("delayed(rating - 5*illegal)", *b"ab", END, BOS)
    assert steps == [0, 0, 0, 0.5 - 5] and terms == {"rating": 0.5, "illegal": -5.0}


def test_a_later_episode_owes_nothing():
    env = single(reward=delayed(Vowels()))
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(token)[1] for token in (97, 98, END)] == [0, 0, 1]
    env.reset(seed=0)
    env.step(97)
    env.reset(seed=0)  # in the middle: what was owed is forgotten
    assert env.step(END)[1] == 0


def test_a_fork_is_owed_what_the_original_is():
    env = single(reward=delayed(Vowels()))
    env.reset(seed=0)
    env.step(97)
    twin = env.fork()
    assert twin.step(97)[1:3] == (0.0, False) and twin.step(END)[1] == 2 and env.step(END)[1] == 1


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), mode=st.sampled_from(["next_step", "same_step"]))
def test_the_sum_is_the_same_at_any_time(seed, mode):
    """Over the same random dialogues, term by term."""
    returns = []
    for to in ("token", "turn", "episode", None):
        reward = make_reward("0.5*sentiment + length(2)*keywords('a') + rating") + Vowels()
        kwargs = dict(user=Talker((Feedback("?", 1.0),)), max_turns=3, max_context_tokens=40, autoreset_mode=mode)
        env, rng = batch(3, reward=delayed(reward, to) if to else reward, **kwargs), np.random.default_rng(seed)
        env.reset(seed=seed)
        paid, ends = np.zeros(3), []
        for _ in range(30):
            _, rewards, terminated, truncated, infos = env.step(random_actions(rng, 3))
            paid += rewards
            for row in np.flatnonzero(terminated | truncated):
                terms = infos.get("final_info", infos)["reward_terms"]
                parts = [terms[k][row] for k in ("sentiment", "length*keywords", "rating", "vowels")]
                ends.append([row, paid[row], *parts])
                paid[row] = 0
        assert ends
        returns.append(ends)
    for other in returns[:-1]:
        assert np.allclose(other, returns[-1])


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("delayed(length, to='hour')", "delayed to 'hour': expected one of 'token', 'turn', 'episode'"),
        ("delayed(delayed(length))", "delay last"),
        ("clip(delayed(length))", "clip of a delayed reward: delay last"),
        ("length * delayed(length)", "delay last"),
    ],
)
def test_what_cannot_be_delayed(expression, message):
    with pytest.raises(ValueError, match=message):
        make_reward(expression)


@pytest.mark.parametrize("to", ["token", "turn", "episode"])
def test_it_is_a_reward(to):
    check_reward(f"delayed(sentiment + rating, to={to!r})", steps=30, user="simulated", max_turns=3)
