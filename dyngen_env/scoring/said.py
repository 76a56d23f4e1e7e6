"""How well the words of a text match what may be said, whatever their order: token-level F1, brevity, stray words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dyngen_env.scoring.words import words_of


@dataclass(frozen=True, slots=True)
class Answers:
    """What may be said, and what had better not be.

    Attributes:
        phrases: the right answers, each as its words in lower case; they are synonyms of each other, any one will do.
        foreign: words in lower case that belong to something else.
        wrong: words in lower case that make an answer wrong whatever else it says: "no" where "yes" is right.
    """

    phrases: tuple[tuple[str, ...], ...]
    foreign: frozenset[str] = frozenset()
    wrong: frozenset[str] = frozenset()


def answers_of(text: str) -> Answers:
    """A text as the only right answer."""
    return Answers((tuple(lower_words(text)),))


def answers_from_json(phrases: Sequence[Sequence[str]], foreign: Sequence[str], wrong: Sequence[str]) -> Answers:
    """The inverse of writing an Answers to JSON, which has lists for tuples and sets."""
    return Answers(tuple(map(tuple, phrases)), frozenset(foreign), frozenset(wrong))


def lower_words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return words_of(text.lower())


def said_f1(text: str, phrases: Sequence[Collection[str]], wrong: Collection[str] = ()) -> float:
    """The F1 of the words of a text against the right answer that they match best, in [0, 1]; 0 with a wrong word.

    It is that of SQuAD (Rajpurkar et al. 2016, sec. 6.1), the maximum over answers of 2·P·R / (P + R), where precision
    P is the share of the said words that are the answer's and recall R the share of the answer's words that were said.
    Two differences: an answer is a set, so a word said twice counts as one right word and one wrong one; and synonyms
    count once, so a word of another right answer said beside it is neither right nor wrong.
    """
    said = lower_words(text)
    distinct, known = set(said), frozenset[str]().union(*phrases)
    if not distinct.isdisjoint(wrong):
        return 0.0
    best = 0.0
    for phrase in phrases:
        answer = set(phrase)
        hits, synonyms = len(distinct & answer), len(distinct & (known - answer))
        total = len(said) - synonyms + len(answer)
        best = max(best, 2 * hits / total if hits else 0.0)
    return best


def foreign_share(text: str, foreign: Collection[str]) -> float:
    """The share of the words of a text that belong to something else, in [0, 1]; 0 of no words."""
    said = lower_words(text)
    return sum(word in foreign for word in said) / len(said) if said else 0.0


def brevity(text: str, words: int) -> float:
    """1 for a text of up to so many words, words / n for one of n words, and 0 for none at all."""
    count = len(lower_words(text))
    return min(1.0, words / count) if count else 0.0
