"""Potential-based shaping: payments by hand, and a sum that is always nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dyngen_env import Feedback
from dyngen_env.rewards import Reward, Shaping, make_reward, shaped
from dyngen_env.scoring.sentiment import vader
from dyngen_env.testing import check_reward
from tests.support.envs import BOS, END, EOS, Talker, batch, random_actions, single


def payments(reward, *tokens, **kwargs):
    """What each of the steps pays, and the terms of the last."""
    env = single(**{"prompts": ["A"], "max_new_tokens": 30, "max_context_tokens": 60, **kwargs}, reward=reward)
    env.reset(seed=0)
    steps = [env.step(token) for token in tokens]
    return [step[1] for step in steps], steps[-1][-1].get("reward_terms")


def test_each_token_is_told_what_it_is_worth():
    paid, terms = payments(shaped(len), *b"ab c", EOS)
    assert paid == [1, 1, 1, 1, 4 - 4] and terms == {"len": 4.0, "shaping": 0.0}


def test_with_a_discount():
    """F = Φ(s')/2 - Φ(s), with Φ = 1, 2, 3 and then 0; and the reward of 3 at the end."""
    paid, terms = payments(shaped(len, gamma=0.5), *b"abc", EOS)
    assert paid == [0.5, 0.5 * 2 - 1, 0.5 * 3 - 2, 3 - 3]
    discounts = 0.5 ** np.arange(4)
    assert discounts @ paid == pytest.approx(discounts[-1] * 3)  # as without shaping
    assert terms == {"len": 3.0, "shaping": 0.5 + 0 - 0.5 - 3}


def test_sentiment_as_it_is_written():
    text = b"a good bad"
    paid, terms = payments("shaped(sentiment)", *text, EOS)
    worth = [0.0, *(vader(text[: i + 1].decode()) for i in range(len(text)))]
    assert paid == pytest.approx([*np.diff(worth), 0.0])
    assert terms == pytest.approx({"sentiment": vader("a good bad"), "shaping": 0.0})


def test_another_potential_advises_and_is_not_paid():
    paid, terms = payments("shaped(length(4), keywords('b', 'd'), gamma=1)", *b"b d", EOS)
    assert paid == [0.5, 0, 0.5, 0.5 - 1] and terms == {"length": 0.5, "shaping": 0.0}


def test_the_scale_of_a_shaped_reward_is_that_of_its_advice():
    assert payments("2 * shaped(length(2))", *b"a b", EOS)[0] == [1, 0, 1, 2 - 2]


def test_a_potential_reads_the_prompt():
    def right(text, prompt):
        return float(text.endswith(prompt))

    assert payments(shaped(right), *b"xAx", EOS)[0] == [0, 1, -1, 0]


def test_turns_begin_with_nothing():
    """Two turns, "ab" and "c": each is worth its length, and the user's words nothing."""
    user = Talker((Feedback("hello"), Feedback("bye", ends=True)))
    paid, terms = payments(shaped(len), *b"ab", END, *b"c", END, user=user, max_turns=3)
    assert paid == [1, 1, 2 - 2, 1, 1 - 1] and terms == {"len": 3.0, "shaping": 0.0}


def test_what_the_user_thinks_cannot_be_known_before():
    user = Talker((Feedback("well", 4, True),))
    assert payments("shaped(rating)", *b"ab", END, user=user)[0] == [0, 0, 1]


@pytest.mark.parametrize("limit", ["terminate", "truncate"])
def test_the_budget_ends_it_too(limit):
    assert payments(shaped(len), *b"abc", max_new_tokens=3, length_limit=limit)[0] == [1, 1, 3 - 2]


def test_an_illegal_token_ends_it_too():
    paid, terms = payments(shaped(len), *b"ab", BOS)
    assert paid == [1, 1, 2 - 2 - 1] and terms == {"len": 2.0, "shaping": 0.0, "illegal": -1.0}


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), mode=st.sampled_from(["next_step", "same_step"]), talk=st.booleans())
def test_the_sum_over_an_episode_is_nothing(seed, mode, talk):
    kwargs = dict(user=Talker((Feedback("?"),)), max_turns=3, max_context_tokens=40) if talk else {}
    env = batch(3, reward="shaped(length(2) + sentiment)", autoreset_mode=mode, **kwargs)
    env.reset(seed=seed)
    rng, ends = np.random.default_rng(seed), 0
    for _ in range(30):
        _, _, terminated, truncated, infos = env.step(random_actions(rng, 3))
        for row in np.flatnonzero(terminated | truncated):
            terms = infos.get("final_info", infos)["reward_terms"]
            assert terms["shaping"][row] == pytest.approx(0.0)
            ends += 1
    assert ends


def test_a_fork_is_advised_as_the_original():
    env = single(reward=shaped(len))
    env.reset(seed=0)
    env.step(97)
    twin = env.fork()
    assert [twin.step(97)[1], env.step(97)[1], env.step(EOS)[1], twin.step(97)[1]] == [1, 1, 0, 1]


def test_fluency_as_a_potential():
    """Φ is the mean log-prob of the tokens so far: times their number it is a sum that grows by each token's."""
    kwargs = dict(tokenizer=None, model="reviews-lm", prompts=["the film is"], max_context_tokens=48)
    env, plain = single(**kwargs, reward="shaped(fluency)"), single(**kwargs, reward="fluency", max_new_tokens=2)
    env.reset(seed=0)
    plain.reset(seed=0)
    paid = [env.step(token)[1] for token in (40, 50)]
    plain.step(40)
    assert sum(paid) == pytest.approx(plain.step(50)[1], abs=1e-5)  # ended there by its budget


class ByToken(Reward):
    per_token = True


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: shaped(len, gamma=1.5), "gamma=1.5: expected a number from 0 to 1"),
        (lambda: shaped(len, gamma="1"), "gamma='1'"),
        (lambda: shaped(ByToken()), "pays at each token"),
        (lambda: make_reward("shaped(delayed(length))"), "delay last"),
        (lambda: make_reward("shaped()"), "wrong arguments for shaped"),
        (lambda: make_reward("shaped('x')"), "wrong arguments for shaped: a reward is"),
        (lambda: make_reward("shaped(nothing)"), "unknown reward 'nothing'.*or around one clip"),
    ],
)
def test_what_cannot_be_shaped(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_it_wants_an_env():
    with pytest.raises(ValueError, match="not bound"):
        Shaping(len)(type("T", (), {"before": None, "after": None, "playing": ()})())


def test_it_is_a_reward():
    check_reward("shaped(sentiment, gamma=0.9)", steps=30)
    check_reward("shaped(rating + length)", steps=30, user="simulated", max_turns=3)
