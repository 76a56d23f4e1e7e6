"""Sentiment scores by VADER, a lexicon with rules (Hutto and Gilbert, ICWSM 2014)."""

from __future__ import annotations

from functools import cache

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer


def vader(text: str) -> float:
    """VADER's compound score of a text: -1 (most negative) to 1 (most positive), 0 for text without sentiment."""
    return float(_analyzer().polarity_scores(text)["compound"])


def vader_shares(text: str) -> tuple[float, float, float, float]:
    """VADER's compound score in [-1, 1], and the shares of a text that are positive, negative and neutral."""
    scores = _analyzer().polarity_scores(text)
    return scores["compound"], scores["pos"], scores["neg"], scores["neu"]


@cache
def _analyzer() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()
