"""Two agents that do not learn to see: the best that can be said without looking, and the nearest picture's answer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from dyngen_env.assets.pictures import load_pictures
from dyngen_env.scoring.said import Answers, foreign_share, said_f1
from dyngen_env.tasks.pictures import COLOURS, IS_IT, KIND, NAME
from dyngen_env.text.media import Picture
from dyngen_env.types import Example

CANDIDATES, LONGEST = 200, 4  # words that are tried, and of an answer
PRICE = 0.2  # of foreign words, in `dyngen/Picture-v0`


def blind_answers(known: Sequence[Example], asked: Sequence[Example]) -> list[str]:
    """The best constant answer to each question: what the best text-only agent says.

    Args:
        known: the questions of the train split, over which the mean of F1 less the price of foreign words, which
            the env pays, is maximised: over phrases that are right answers, and over the commonest words, put together
            one by one.
        asked: what is to be answered.
    """
    answers: dict[str, list[Answers]] = defaultdict(list)
    for example in known:
        answers[example.prompt].append(example.facts)
    best = {question: _best_constant(of) for question, of in answers.items()}
    return [best[example.prompt] for example in asked]


def _best_constant(answers: Sequence[Answers]) -> str:
    def score(text: str) -> float:
        paid = (
            said_f1(text, answer.phrases, answer.wrong) - PRICE * foreign_share(text, answer.foreign)
            for answer in answers
        )
        return sum(paid) / len(answers)

    phrases = Counter(" ".join(phrase) for answer in answers for phrase in answer.phrases)
    words = Counter(word for answer in answers for phrase in answer.phrases for word in set(phrase))
    commonest = [word for word, _ in words.most_common(CANDIDATES)]
    found = [max((phrase for phrase, _ in phrases.most_common(CANDIDATES)), key=score)]
    grown = ""
    for _ in range(LONGEST):
        grown = max((f"{grown} {word}".strip() for word in commonest), key=score)
        found.append(grown)
    return max(found, key=score)


def pixels_of(example: Example) -> np.ndarray:
    """(32, 32, 3) uint8, the picture that an example shows."""
    [picture] = example.media
    assert isinstance(picture, Picture)
    return picture.pixels


def nearest_answers(asked: Sequence[Example]) -> list[str]:
    """What would be right of the picture of the train split whose pixels are nearest, by Euclidean distance."""
    known = load_pictures("train")
    rows = np.stack([picture.pixels for picture in known]).reshape(len(known), -1).astype(np.float32)
    shown = np.stack([pixels_of(example) for example in asked]).reshape(len(asked), -1).astype(np.float32)
    nearest = ((rows**2).sum(1) - 2 * shown @ rows.T).argmin(1)
    categories = {question: category for category, question in IS_IT.items()}
    answers = []
    for example, row in zip(asked, nearest, strict=True):
        picture = known[row]
        own = {NAME: picture.names[0], KIND: picture.kind, COLOURS: " ".join(picture.colours)}
        yes = picture.category == categories.get(example.prompt)
        answers.append(own.get(example.prompt, "yes" if yes else "no"))
    return answers
