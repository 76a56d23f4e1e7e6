"""People in memory, for tests of envs that ask some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dyngen_env.scoring.people import Question
from dyngen_env.types import Feedback


def vowels(text: str) -> float:
    """A rating that anybody can count out: the vowels of a text, at most 4."""
    return float(min(4, sum(c in "aeiou" for c in text)))


class Crowd:
    """People in memory who answer once they have been looked for so many times. `asked` holds what was put up, by key.

    Args:
        answer: to a question. late: looks that find nothing; None answers nobody, ever.
    """

    def __init__(self, answer: Callable[[Question], Feedback] | None = None, late: int | None = 0):
        self.answer = answer or (lambda question: Feedback(rating=vowels(question.dialogue.completions[-1])))
        self.late, self.looks, self.asked = late, 0, dict[Any, Question]()

    def ask(self, questions: Sequence[Question]) -> None:
        for question in questions:
            self.asked.setdefault(question.key, question)

    def answers(self, questions: Sequence[Question]) -> list[list[Feedback]]:
        self.looks += 1
        there = self.late is not None and self.looks > self.late
        return [[self.answer(q)] * q.raters if there else [] for q in questions]

    def recordings(self) -> list[list[dict[str, Any]]]:
        return []
