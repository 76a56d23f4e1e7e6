"""Asking people and waiting for them."""

import time

import pytest

from dyngen_env.scoring.people import Question, ask_and_wait, interrupted_by, single_turn, turn_key
from dyngen_env.types import Dialogue, Example, Feedback
from tests.support.people import Crowd


def about(*texts, raters=1):
    return [Question(single_turn(Example("A"), text), raters=raters) for text in texts]


def test_all_are_asked_before_anybody_is_waited_for():
    crowd = Crowd(late=3)
    answers = ask_and_wait(crowd, about("a", "oui", "a", raters=2), timeout=60, where="")
    assert [[answer.rating for answer in given] for given in answers] == [[1, 1], [3, 3], [1, 1]]
    assert len(crowd.asked) == 2 and crowd.looks == 4


def test_who_is_late_is_not_waited_for():
    began = time.monotonic()
    assert ask_and_wait(Crowd(late=None), about("a", "b"), timeout=0.05, where="") == [[], []]
    assert 0.05 <= time.monotonic() - began < 5


def test_waiting_can_be_interrupted():
    def stop():
        raise InterruptedError

    with interrupted_by(stop), pytest.raises(InterruptedError):
        ask_and_wait(Crowd(late=None), about("a"), timeout=1e6, where="")
    assert ask_and_wait(Crowd(late=1), about("a"), timeout=60, where="") == [[Feedback(rating=1.0)]]


def test_a_turn_is_known_by_what_was_said_before_it():
    talk = Dialogue(Example("A"), persona=1).said("b").heard(Feedback("c", 1)).said("d")
    same = Dialogue(Example("A", "another reference"), persona=2).said("b").heard(Feedback("c", -1)).said("d")
    others = [
        Dialogue(Example("B")).said("b").heard(Feedback("c")).said("d"),
        Dialogue(Example("A")).said("b").heard(Feedback("")).said("d"),
        Dialogue(Example("A")).said("b").heard(Feedback("c")).said("e"),
        Dialogue(Example("A")).said("b"),
        Dialogue(Example("A")).said("").heard(Feedback("b c")).said("d"),
    ]
    assert turn_key(talk) == turn_key(same) == turn_key(talk.heard(Feedback("later")))
    assert len({turn_key(talk), *map(turn_key, others)}) == 6
