"""The questions about pictures: which answers are right."""

from collections import Counter

import numpy as np
import pytest

from dyngen_env.assets.pictures import SPLITS, load_pictures
from dyngen_env.scoring.said import foreign_share, said_f1
from dyngen_env.tasks import read_prompts
from dyngen_env.tasks.pictures import COLOURS, IS_IT, KIND, NAME, QUESTIONS, foreign_words, picture_questions


def asked(split="train"):
    return [(example.prompt, example) for example in picture_questions(split)]


@pytest.mark.parametrize("split", SPLITS)
def test_every_thing_is_asked_four_questions_about_pictures_of_its_own(split):
    examples = picture_questions(split)
    things = {picture.base for picture in load_pictures(split)}
    assert len(examples) == 4 * len(things)
    counts = Counter("is it" if e.prompt in IS_IT.values() else e.prompt for e in examples)
    assert counts == dict.fromkeys((NAME, KIND, COLOURS, "is it"), len(things))
    of = {picture.pixels.tobytes() for picture in load_pictures(split)}
    assert all(np.asarray(e.media[0].pixels).tobytes() in of for e in examples)


def test_references_are_right_answers_and_not_foreign():
    for _, example in asked():
        assert said_f1(example.reference, example.facts.phrases) == 1.0
        assert foreign_share(example.reference, example.facts.foreign) == 0.0


def test_the_same_picture_has_other_right_answers_to_other_questions():
    pixels = next(p.pixels for p in load_pictures() if p.id == "1f697")  # a car
    split = next(s for s in SPLITS if any(p.id == "1f697" for p in load_pictures(s)))
    answers = {e.prompt: e.facts.phrases for e in picture_questions(split) if np.array_equal(e.media[0].pixels, pixels)}
    assert ("car",) in answers[NAME]
    assert answers[KIND] == (("transport", "ground"), ("travel", "places"))
    assert "red" in answers[COLOURS][0]
    [(question, yes_or_no)] = [(q, a) for q, a in answers.items() if q in IS_IT.values()]
    assert yes_or_no == ((("yes",),) if question == IS_IT["travel places"] else (("no",),))


def test_yes_and_no_are_about_equally_right():
    yes = [e.reference == "yes" for _, e in asked() if e.prompt in IS_IT.values()]
    assert np.mean(yes) == pytest.approx(0.5, abs=0.05)


def test_words_of_other_categories_are_foreign():
    foreign = foreign_words()
    assert {"banana", "fruit"} <= foreign["animals nature"] and "banana" not in foreign["food drink"]
    assert not {"yes", "no", "red", "blue"} & set.union(*map(set, foreign.values()))


def test_the_list_is_called_by_name_and_split_by_what_is_shown():
    assert read_prompts("pictures").examples == picture_questions("train")
    assert read_prompts("pictures", "eval").examples == picture_questions("eval")
    assert set(QUESTIONS) == {e.prompt for e in read_prompts("pictures").examples}
