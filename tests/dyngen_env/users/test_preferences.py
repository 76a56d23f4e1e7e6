"""How well texts meet preferences: expected values by hand."""

from __future__ import annotations

import pytest

from dyngen_env.scoring.sentiment import vader
from dyngen_env.scoring.words import any_word, words_of
from dyngen_env.users.preferences import Pattern, Tone, Topic, Words

ACTING, MUSIC = ("acting", "cast"), ("music", "songs")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ... !?", []),
        ("It's a well-made film, 2nd part.", ["It's", "a", "well-made", "film", "2nd", "part"]),
        ("电影很好看", list("电影很好看")),
        ("电影ok!", ["电", "影", "ok"]),
        ("naïve café", ["naïve", "café"]),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("count", "fit"), [(2, 1.0), (5, 1.0), (6, 2 / 3), (8, 0.0), (11, -1.0), (40, -1.0), (1, 2 / 3)]
)
def test_a_length_is_judged_by_how_far_it_is_off(count, fit):
    assert Words(2, 5).fit("word " * count) == pytest.approx(fit)


def test_tone_is_vaders():
    good = "a wonderful, funny film"
    score = vader(good)
    assert score > 0.7
    assert (Tone(1).fit(good), Tone(-1).fit(good), Tone(0).fit(good)) == (score, -score, 1 - 2 * score)
    assert Tone(0).fit("the film has three parts") == 1.0


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        ("The acting, and the cast!", 1.0),
        ("ACTING acting acting", 1.0),
        ("acting and music", 0.0),
        ("acting, music, songs", 2 / 3 - 1),
        ("the music", -1.0),
        ("overacting", -1.0),
        ("nothing", -1.0),
    ],
)
def test_a_topic_is_met_by_speaking_of_it_and_of_no_other(text, fit):
    assert Topic(ACTING, MUSIC).fit(text) == pytest.approx(fit)


def test_chinese_topics_need_no_spaces_around_them():
    topic = Topic(("演技", "演员"), ("音乐",))
    assert topic.fit("这部电影演技很好") == 1.0 and topic.fit("音乐和演技") == 0.0


def test_patterns():
    assert Pattern(r"\?").fit("why?") == 1.0 and Pattern(r"\bme\b").fit("MEN") == -1.0


def test_words_stand_by_themselves():
    found = any_word(("act", "acting", "好", "a b", "3d片"))
    assert found.findall("acting, act react actor 很好看 a b a bc 3d片子 x3d片") == [
        "acting",
        "act",
        "好",
        "a b",
        "3d片",
    ]
