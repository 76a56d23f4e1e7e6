"""The rewards of words said, in an env."""

import pytest

from dyngen_env import Example
from dyngen_env.rewards import Brevity
from dyngen_env.scoring.said import Answers
from tests.support.envs import EOS, single

DOG = Example("A", "dog", Answers((("dog",), ("dog", "face")), frozenset({"flag"})))


def terms(example, text):
    env = single(
        prompts=[example], reward="said - 0.5*foreign + 0.1*brevity(1)", max_new_tokens=30, max_context_tokens=40
    )
    env.reset(seed=0)
    for token in [*text.encode(), EOS]:
        info = env.step(token)[-1]
    return info["reward_terms"]


def test_each_term_is_paid_when_the_turn_ends():
    paid = terms(DOG, "dog flag")
    assert paid["said"] == pytest.approx(2 / 3)
    assert paid["foreign"] == pytest.approx(-0.5 * 1 / 2)
    assert paid["brevity"] == pytest.approx(0.1 * 1 / 2)


def test_without_answers_the_reference_is_the_answer():
    paid = terms(Example("A", "red heart"), "red")
    assert paid["said"] == pytest.approx(2 / 3) and paid["foreign"] == 0.0


def test_an_example_with_neither_is_an_error_that_says_so():
    with pytest.raises(ValueError, match=r"reward 'said': the example 'A' has no right answers; give prompts with ref"):
        terms(Example("A"), "red")


def test_brevity_needs_a_word():
    with pytest.raises(ValueError, match="brevity needs at least 1 word, got 0"):
        Brevity(0)
