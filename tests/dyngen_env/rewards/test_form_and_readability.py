"""What a completion looks like: expected values by hand and from the papers' formulas."""

from __future__ import annotations

import pytest

from dyngen_env.rewards import make_reward
from dyngen_env.rewards.form import is_json
from dyngen_env.scoring.readability import reading_ease, syllables
from dyngen_env.testing import check_reward
from tests.support.envs import END, single, write


def paid(reward, text):
    env = single(reward=reward, max_new_tokens=80, max_context_tokens=120)
    env.reset(seed=0)
    return write(env, text, END)[1]


@pytest.mark.parametrize(
    ("text", "ease"),
    [
        ("The cat sat on the mat.", 206.835 - 1.015 * 6 - 84.6 * 1),
        ("The cat sat. The dog ran.", 206.835 - 1.015 * 3 - 84.6 * 1),
        ("A beautiful idea", 206.835 - 1.015 * 3 - 84.6 * 6 / 3),
        ("It costs 3.50 now", 206.835 - 1.015 * 5 - 84.6 * 1),
        ("", 0.0),
        ("...", 0.0),
    ],
)
def test_reading_ease(text, ease):
    assert reading_ease(text) == pytest.approx(ease)


def test_syllables():
    words = {"cat": 1, "made": 1, "table": 2, "free": 1, "acting": 2, "cinematography": 6, "tsk": 1, "the": 1}
    assert {word: syllables(word) for word in words} == words


def test_readability_is_in_0_1():
    assert paid("readability", "The cat sat.") == 1.0
    assert paid("readability", "Incomprehensibility characterises cinematography.") == 0.0
    assert paid("readability", "") == 0.0
    assert 0 < paid("readability", "The film has a lovely story and a happy ending.") < 1


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": [1, 2.5e3, null, "é"]}', True),
        (" 3 ", True),
        ("", False),
        ("{'a': 1}", False),
        ("[1, 2,]", False),
        ("NaN", False),
        ("[-Infinity]", False),
        ("{} {}", False),
        ("[" * 100_000, False),
    ],
)
def test_json(text, valid):
    assert is_json(text) == valid
    if len(text) < 70:
        assert paid("json_valid", text) == float(valid)


def test_matches():
    assert paid(r"matches('\\d+ stars')", "I give 4 stars") == 1.0
    assert paid("matches('^stars')", "4 stars") == 0.0
    with pytest.raises(ValueError, match="no regular expression"):
        make_reward("matches('(')")


@pytest.mark.parametrize("reward", ["readability", "matches('a.c')", "json_valid"])
def test_they_are_rewards(reward):
    check_reward(reward, steps=30)
