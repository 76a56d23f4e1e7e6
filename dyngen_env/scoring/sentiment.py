"""Sentiment by lexicon and rules: VADER (Hutto and Gilbert, ICWSM 2014)."""

from __future__ import annotations

from functools import cache

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer


def vader(text: str) -> float:
    """The compound score in [-1, 1]; 0 for text without sentiment."""
    return float(_analyzer().polarity_scores(text)["compound"])


@cache
def _analyzer() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()
