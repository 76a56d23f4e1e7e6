"""Sentiment by lexicon and rules: VADER (Hutto and Gilbert, ICWSM 2014)."""

from __future__ import annotations

from functools import cache

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer


def vader(text: str) -> float:
    """The compound score in [-1, 1]; 0 for text without sentiment."""
    return float(_analyzer().polarity_scores(text)["compound"])


def vader_shares(text: str) -> tuple[float, float, float, float]:
    """The compound score, and the shares of the text that are positive, negative and neutral, each in [0, 1]."""
    scores = _analyzer().polarity_scores(text)
    return scores["compound"], scores["pos"], scores["neg"], scores["neu"]


@cache
def _analyzer() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()
