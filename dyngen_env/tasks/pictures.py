"""The questions that are asked about the emoji pictures in `dyngen/Picture-v0`, and what their right answers are."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import chain

from dyngen_env.assets.pictures import EmojiPicture, load_pictures
from dyngen_env.scoring.said import Answers
from dyngen_env.text.media import Picture
from dyngen_env.types import Example

NAME, KIND, COLOURS = "name it:", "what kind is it?", "what colours has it?"
IS_IT = {  # by category
    "activities": "is it a game or a sport?",
    "animals nature": "is it an animal or a plant?",
    "flags": "is it a flag?",
    "food drink": "is it food or drink?",
    "objects": "is it a thing of use?",
    "people body": "is it a person or a part of one?",
    "smileys emotion": "is it a smiley or a heart?",
    "symbols": "is it a symbol?",
    "travel places": "is it a place or a vehicle?",
}
QUESTIONS = (NAME, KIND, COLOURS, *IS_IT.values())
YES_OR_NO = frozenset({"yes", "no"})


@cache
def picture_questions(split: str) -> tuple[Example, ...]:
    """Four questions about each thing that pictures of a split show: its name, its kind, its colours, and whether it is
    one of a category, half of the times its own. The same picture so has different right answers.

    A thing of which there are several pictures (skin tones, genders) is asked about as often as any other; each of its
    questions shows one of them, chosen by a hash. The example's `facts` are its `Answers`: words of other categories
    are foreign to it. Its reference is the most usual answer. To a question of yes or no, who says both is wrong.
    """
    by_base = defaultdict(list)
    for picture in load_pictures(split):
        by_base[picture.base].append(picture)
    foreign = foreign_words()
    examples = []
    for base, pictures in by_base.items():
        for number in range(4):
            picture = pictures[_draw(f"picture {number} of {base}", len(pictures))]
            question, phrases = _question(number, picture)
            wrong = YES_OR_NO - set(phrases[0]) if phrases[0][0] in YES_OR_NO else frozenset()
            answers = Answers(phrases, foreign[picture.category], wrong)
            examples.append(Example(question, " ".join(phrases[0]), answers, media=(Picture(picture.pixels),)))
    return tuple(examples)


def _question(number: int, picture: EmojiPicture) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """The question of this number about a picture, and the phrases that answer it."""
    if number == 0:
        return NAME, tuple(tuple(name.split()) for name in picture.names)
    if number == 1:
        return KIND, (tuple(picture.kind.split()), tuple(picture.category.split()))
    if number == 2:
        return COLOURS, (picture.colours,)
    if _draw(f"own category of {picture.base}", 2):
        return IS_IT[picture.category], (("yes",),)
    others = [question for category, question in IS_IT.items() if category != picture.category]
    return others[_draw(f"other category of {picture.base}", len(others))], (("no",),)


@cache
def foreign_words() -> dict[str, frozenset[str]]:
    """By category, the words that describe pictures of other categories and none of its own; colours are nobody's."""
    own = {category: set[str]() for category in IS_IT}
    everywhere = {"yes", "no"}
    for picture in load_pictures():
        own[picture.category].update(_words((picture.category, picture.kind, *picture.names)))
        everywhere.update(picture.colours)
    said = set(chain.from_iterable(own.values())) - everywhere
    return {category: frozenset(said - words) for category, words in own.items()}


def _words(phrases: Sequence[str]) -> list[str]:
    return [word for phrase in phrases for word in phrase.split()]


def _draw(key: str, n: int) -> int:
    """A number from 0 to n - 1, uniform over keys, the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % n
