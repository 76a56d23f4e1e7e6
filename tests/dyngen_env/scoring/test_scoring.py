"""Pure scores of text, against hand arithmetic."""

import random
from collections import Counter

import numpy as np
import pytest
from vaderSentiment.vaderSentiment import BOOSTER_DICT, NEGATE, SPECIAL_CASES, SentimentIntensityAnalyzer

from dyngen_env.scoring.diversity import distinct_n, rarefied, repeated_share, self_bleu
from dyngen_env.scoring.keywords import share_mentioned
from dyngen_env.scoring.sentiment import vader, vader_shares


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["a b a", "b c"], 1, 3 / 5),
        (["a b a", "b a"], 2, 2 / 3),  # n-grams do not reach across texts
        (["a A"], 1, 1 / 2),
        (["a"], 2, 0.0),
        ([], 1, 0.0),
    ],
)
def test_distinct_n(texts, n, expected):
    assert distinct_n(texts, n) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [("a b a b", 1, 1 / 2), ("a b a b", 2, 1 / 3), ("a b", 2, 0.0), ("", 1, 0.0), ("x X x", 1, 2 / 3)],
)
def test_repeated_share(text, n, expected):
    assert repeated_share(text, n) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["a b c d e", "A b c d e"], 4, 1.0),
        (["a", "b"], 1, 0.1),  # nothing is found elsewhere
        (["a b c d"], 4, 0.0),
        # "a" twice here and once there; "b b" stands there nowhere; of the shorter text all, but its length costs.
        (["a a b", "a b"], 1, (2 / 3 + np.exp(1 - 3 / 2) * 1.0) / 2),
        # bigrams: "x y" of "x y", "y z" is found: 1/2; of two words one bigram, found.
        (["x y z", "x y"], 2, (np.sqrt(2 / 3 * 1 / 2) + np.exp(1 - 3 / 2)) / 2),
        # three texts: the nearest length is taken, and of the references that with most of a word.
        (["a a", "a a a", "b"], 1, (1.0 + 2 / 3 + 0.1 * np.exp(1 - 2 / 1)) / 3),
    ],
)
def test_self_bleu(texts, n, expected):
    assert self_bleu(texts, n) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("often", "size", "expected"),
    [
        ({3: 1, 1: 1}, 2, 1.5 / 2),  # a a a b: half of the pairs are a a
        ({1: 5}, 3, 1.0),
        ({5: 1}, 3, 1 / 3),
        ({2: 2}, 9, 2 / 4),  # fewer than asked for: all of them
        ({}, 3, 0.0),
        ({0: 4, 1: 2}, 2, 1.0),
    ],
)
def test_diversity_at_equal_length(often, size, expected):
    assert rarefied(often, size) == pytest.approx(expected)


def test_longer_texts_of_the_same_words_are_no_less_diverse():
    """Distinct-n falls with the length of what it is taken over; of equally many n-grams it does not."""
    rng = np.random.default_rng(0)
    short, long = rng.integers(50, size=100), rng.integers(50, size=1000)
    of = [Counter(Counter(words.tolist()).values()) for words in (short, long)]
    assert distinct_n([" ".join(map(str, long))], 1) < 0.1 < distinct_n([" ".join(map(str, short))], 1) / 4
    assert abs(rarefied(of[0], 50) - rarefied(of[1], 50)) < 0.06


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("The PLOT, well.", ["plot"], 1.0),
        ("plots", ["plot"], 0.0),
        ("a plot-driven film", ["plot", "acting"], 0.5),
        ("what? c++!", ["c++", "what?"], 1.0),
        ("le café", ["café", "caf"], 0.5),
        ("very bad acting", ["bad acting"], 1.0),
    ],
)
def test_share_mentioned(text, words, expected):
    assert share_mentioned(text, words) == expected


def test_vader_gives_what_its_package_gives():
    """Texts of lexicon words, modifiers, negations, idioms, emoticons and punctuation, in all combinations."""
    analyzer, chance = SentimentIntensityAnalyzer(), random.Random(0)
    words = [*list(analyzer.lexicon)[::40], *BOOSTER_DICT, *NEGATE, *SPECIAL_CASES, "but", "BUT", "no", "nor", "least"]
    words += [
        "kind",
        "of",
        "at",
        "never",
        "so",
        "this",
        "without",
        "doubt",
        "film",
        "GREAT",
        "great!",
        "(bad)",
        "!!",
        "",
    ]
    for _ in range(1500):
        text = " ".join(chance.choices(words + ["\U0001f600", "caf\u00e9", "the"] * 9, k=chance.randrange(12)))
        text = chance.choice([text, text, text, text.upper(), f" {text}\n", f"{text}?? !"])
        theirs = analyzer.polarity_scores(text)
        assert vader(text) == theirs["compound"], text
        assert vader_shares(text) == tuple(theirs[key] for key in ("compound", "pos", "neg", "neu")), text


def test_vader_as_its_authors_print_it():
    """Values from the read-me of vaderSentiment."""
    assert vader("VADER is smart, handsome, and funny.") == 0.8316
    assert vader("VADER is VERY SMART, uber handsome, and FRIGGIN FUNNY!!!") == 0.9469
    assert vader("At least it isn't a horrible book.") == 0.431
    assert vader("") == 0.0
