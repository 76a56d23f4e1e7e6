"""Words that nobody should have to read, in disguise too."""

from __future__ import annotations

import builtins

import pytest

from dyngen_env.scoring import profanity
from dyngen_env.testing import check_reward
from tests.support.envs import END, single, write

pytest.importorskip("pyobscenity")


def paid(text, reward="safety"):
    env = single(reward=reward, max_new_tokens=60, max_context_tokens=120)
    env.reset(seed=0)
    return write(env, text, END)[1]


@pytest.mark.parametrize("text", ["what shit", "SHIT!", "sh1t", "shiiiit", "5hit", "ѕhіt"])
def test_swearing_costs(text):
    assert paid(text) == -1.0


@pytest.mark.parametrize("text", ["", "a classic assassin from Scunthorpe", "Dickens wrote it", "a bad, sad film"])
def test_other_words_do_not(text):
    assert paid(text) == 0.0


def test_words_of_your_own():
    assert paid("he dies in the End", "safety('the end')") == -1.0
    assert paid("the ending", "safety('the end')") == 0.0
    with pytest.raises(ValueError, match="safety takes words"):
        paid("", "safety(3)")


def test_it_is_a_reward():
    check_reward("0.5*safety('x')", steps=30)


def test_a_missing_package_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name == "pyobscenity":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    profanity._matcher.cache_clear()
    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(ImportError, match="pip install pyobscenity"):
        single(reward="safety")
