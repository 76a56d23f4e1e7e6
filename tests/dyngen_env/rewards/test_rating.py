"""The user's rating, and how they leave, as rewards."""

from __future__ import annotations

import gymnasium as gym
import pytest

from dyngen_env import Feedback
from dyngen_env.rewards.rating import Rating
from dyngen_env.testing import check_reward
from tests.support.envs import END, Talker, single, write


def episode(reward, *replies, turns=3, last=END):
    """Rewards of the turns of an agent that says nothing, and the last info."""
    env = single(user=Talker(replies), reward=reward, prompts=["A"], max_turns=turns, max_context_tokens=60)
    env.reset(seed=0)
    paid = []
    for _ in replies:
        _, reward, *_, info = write(env, "x", last)
        paid.append(reward)
    return paid, info


def test_ratings_are_divided_by_four_and_nothing_is_zero():
    replies = Feedback("no", -4), Feedback("hm"), Feedback("ok", 3.0)
    assert episode("rating", *replies)[0] == [-1.0, 0.0, 0.75]


def test_what_an_unrated_turn_pays_can_be_said():
    paid, info = episode("rating(unrated=-0.25) + 2*left_happy", Feedback("no", -4), Feedback("hm"), Feedback("ok", 2))
    assert paid == [-1.0, -0.25, 0.5] and info["reward_terms"]["rating"] == -0.75
    with pytest.raises(ValueError, match="reward 'rating' pays nan for a turn"):
        episode(Rating(float("nan")), Feedback("hm"))


@pytest.mark.parametrize(("ends", "paid"), [("goal", 1.0), (True, -1.0), (False, 0.0)])
def test_how_a_dialogue_ends(ends, paid):
    rewards, info = episode("rating + 2*left_happy", Feedback("go on", 4), Feedback("bye", 2, ends), turns=2)
    assert rewards == [1.0, 0.5 + 2 * paid]
    assert info["reward_terms"] == {"rating": 1.5, "left_happy": 2 * paid}


def test_a_turn_that_nobody_heard_is_not_rated():
    paid, info = episode("rating + left_happy", Feedback("good", 4), last=256)  # BOS is not legal
    assert paid == [-1.0] and info["reward_terms"] == {"rating": 0.0, "left_happy": 0.0, "illegal": -1.0}


@pytest.mark.parametrize("reward", ["rating", "left_happy", "sentiment + clip(rating, 0, 1)", "shaped(rating)"])
def test_a_users_opinion_needs_a_user(reward):
    """It would be 0 for ever, and nothing would be learned."""
    with pytest.raises(ValueError, match=r"nobody answers in this env: give it a user"):
        gym.make_vec("dyngen/Generate-v0", num_envs=2, tokenizer="bytes", prompts=["a"], reward=reward)


def test_they_are_rewards():
    check_reward("rating + 2*left_happy", steps=30, user="simulated", max_turns=3)
    check_reward("rating(unrated=-0.1)", steps=30, user="simulated(rated=0.5)", max_turns=3)
