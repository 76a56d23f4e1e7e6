"""Sentiment scores by VADER, a lexicon with rules (Hutto and Gilbert, ICWSM 2014).

The scores are those of the package vaderSentiment, by its own rules, several times faster: the package looks for emojis
character by character, and for each word of its lexicon at all words of the text, of which only the three before it and
the two after it matter.
"""

from __future__ import annotations

import string
from functools import cache
from typing import NamedTuple

from vaderSentiment.vaderSentiment import BOOSTER_DICT, SentimentIntensityAnalyzer, normalize

BEFORE, AFTER = 3, 2  # how many words before and after a word VADER's rules for it look at
REMEMBERED = 2**16  # tokens


class _Word(NamedTuple):
    text: str  # without punctuation around it
    lower: str
    is_upper: bool
    has_valence: bool  # in the lexicon, and no modifier of other words


class _Neighbourhood(NamedTuple):
    """What VADER's rules ask of a text, here for the words around one of them."""

    words_and_emoticons: list[str]
    is_cap_diff: bool


def vader(text: str) -> float:
    """VADER's compound score of a text: -1 (most negative) to 1 (most positive), 0 for text without sentiment."""
    analyzer = _analyzer()
    if _has_emojis(text):
        return float(analyzer.polarity_scores(text)["compound"])
    total = float(sum(_sentiments(text)))
    if total:
        emphasis = analyzer._punctuation_emphasis(text)
        total += emphasis if total > 0 else -emphasis
    return round(normalize(total), 4)


def vader_shares(text: str) -> tuple[float, float, float, float]:
    """VADER's compound score in [-1, 1], and the shares of a text that are positive, negative and neutral."""
    analyzer = _analyzer()
    if _has_emojis(text):
        scores = analyzer.polarity_scores(text)
    else:
        scores = analyzer.score_valence(_sentiments(text), text.strip())
    return scores["compound"], scores["pos"], scores["neg"], scores["neu"]


def _has_emojis(text: str) -> bool:
    """Whether there is a character that VADER replaces by its description."""
    return not text.isascii() and not _analyzer().emojis.keys().isdisjoint(text)


def _sentiments(text: str) -> list[float]:
    """What each word of a text without emojis counts for, as `polarity_scores` of the package finds it."""
    analyzer, words = _analyzer(), [_words[token] for token in text.split()]
    sentiments: list[float] = [0] * len(words)
    laden = [i for i, word in enumerate(words) if word.has_valence]
    if not laden:
        return sentiments
    spellings, uppers = [word.text for word in words], sum([word.is_upper for word in words])
    cap_diff = 0 < uppers < len(words)
    for i in laden:
        if words[i].lower == "kind" and i + 1 < len(words) and words[i + 1].lower == "of":
            continue
        near = _Neighbourhood(spellings[max(0, i - BEFORE) : i + AFTER + 1], cap_diff)
        sentiments[i] = analyzer.sentiment_valence(0, near, words[i].text, min(i, BEFORE), [])[0]
    if "but" in [word.lower for word in words]:
        sentiments = analyzer._but_check(spellings, sentiments)
    return sentiments


class _Words(dict[str, _Word]):
    """Tokens between spaces as VADER reads them: what is shorter than three characters may be an emoticon."""

    def __missing__(self, token: str) -> _Word:
        stripped = token.strip(string.punctuation)
        text = stripped if len(stripped) > 2 else token
        lower = text.lower()
        word = _Word(text, lower, text.isupper(), lower in _analyzer().lexicon and lower not in BOOSTER_DICT)
        if len(self) >= REMEMBERED:
            self.clear()
        self[token] = word
        return word


_words = _Words()


@cache
def _analyzer() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()
