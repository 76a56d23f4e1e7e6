"""Words said against words that may be said: by hand."""

import pytest

from dyngen_env.scoring.said import answers_of, brevity, foreign_share, said_f1

DOG = (("dog",), ("dog", "face"))
POOP = (("poop",), ("hankey",))


@pytest.mark.parametrize(
    ("text", "phrases", "expected"),
    [
        ("dog", DOG, 1.0),
        ("Face, DOG!", DOG, 1.0),  # any order, any case
        ("cat face", DOG, 2 * 1 / (2 + 2)),  # of "dog face": P = 1/2, R = 1/2
        ("face", DOG, 2 * 1 / (1 + 2)),  # P = 1, R = 1/2
        ("big dog", DOG, 2 * 1 / (2 + 1)),  # of "dog" P = 1/2, R = 1: better than of "dog face"
        ("dog dog", DOG, 2 * 1 / (2 + 1)),  # one right word, one wrong one
        ("poop hankey", POOP, 1.0),  # two synonyms count once
        ("poop hankey hankey", POOP, 2 * 1 / (2 + 1)),  # but each may be said once
        ("big hankey poop", POOP, 2 * 1 / (2 + 1)),
        ("cat", DOG, 0.0),
        ("", DOG, 0.0),
        ("dog", (), 0.0),
        ("...", DOG, 0.0),
        ("smiling mouth", (("smiling", "face", "open", "mouth", "eyes"), ("smile",)), 2 * 2 / (2 + 5)),
    ],
)
def test_f1(text, phrases, expected):
    assert said_f1(text, phrases) == pytest.approx(expected)


def test_a_wrong_word_makes_an_answer_wrong():
    assert said_f1("yes", [["yes"]], {"no"}) == 1.0
    assert said_f1("yes no", [["yes"]], {"no"}) == said_f1("No", [["yes"]], {"no"}) == 0.0


def test_a_reference_is_the_only_answer():
    assert answers_of("The Red  Heart").phrases == (("the", "red", "heart"),)


@pytest.mark.parametrize(
    ("text", "expected"), [("cat", 1.0), ("Cat dog", 1 / 2), ("dog", 0.0), ("", 0.0), ("cat cat bird", 2 / 3)]
)
def test_the_share_of_foreign_words(text, expected):
    assert foreign_share(text, {"cat", "tree"}) == pytest.approx(expected)


@pytest.mark.parametrize(("text", "expected"), [("a b", 1.0), ("a", 1.0), ("a b c", 2 / 3), ("", 0.0), (" . ", 0.0)])
def test_brevity(text, expected):
    assert brevity(text, 2) == pytest.approx(expected)
