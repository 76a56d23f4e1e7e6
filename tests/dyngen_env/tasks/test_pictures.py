"""The questions about pictures: which answers are right."""

from collections import Counter

import gymnasium as gym
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


def test_who_says_yes_and_no_is_wrong():
    answers = [e.facts for _, e in asked() if e.prompt in IS_IT.values()]
    assert {said_f1("yes no", a.phrases, a.wrong) for a in answers} == {0.0}
    assert {said_f1("yes", a.phrases, a.wrong) for a in answers} == {0.0, 1.0}


def test_words_of_other_categories_are_foreign():
    foreign = foreign_words()
    assert {"banana", "fruit"} <= foreign["animals nature"] and "banana" not in foreign["food drink"]
    assert not {"yes", "no", "red", "blue"} & set.union(*map(set, foreign.values()))


def test_the_list_is_called_by_name_and_split_by_what_is_shown():
    assert read_prompts("pictures").examples == picture_questions("train")
    assert read_prompts("pictures", "eval").examples == picture_questions("eval")
    assert set(QUESTIONS) == {e.prompt for e in read_prompts("pictures").examples}


def test_the_env_shows_the_picture_and_pays_the_answer_to_its_question():
    env = gym.make("dyngen/Picture-v0", split="eval", observation="dict")
    number = next(
        n for n, e in enumerate(picture_questions("eval")) if e.prompt == COLOURS and len(e.facts.phrases[0]) == 2
    )
    example = picture_questions("eval")[number]
    one, other = example.facts.phrases[0]
    tokenizer = env.unwrapped.batch.tokenizer
    for said, f1 in ((f" {one} {other}", 1.0), (f" {other}", 2 / 3), (" yes", 0.0)):
        observation, _ = env.reset(options={"example": number})
        assert np.array_equal(observation["pictures"][0], example.media[0].pixels)
        for token in [*tokenizer.encode(said), min(tokenizer.end_ids)]:
            *_, over, _, info = env.step(token)
        assert over and info["text"] == said
        assert info["reward_terms"]["said"] == pytest.approx(f1)
        assert info["reward_terms"]["brevity"] == pytest.approx(0.1)
