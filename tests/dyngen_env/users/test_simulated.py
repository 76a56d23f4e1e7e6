"""The simulated person: who they are, what they say, when they go."""

from __future__ import annotations

import numpy as np
import pytest

from dyngen_env import Dialogue, Example, Feedback
from dyngen_env.assets.reviews import load_reviews
from dyngen_env.testing import check_user
from dyngen_env.users import SimulatedUser, make_user
from dyngen_env.users.personas import FOLDER, Persona, read_population
from dyngen_env.users.simulated import raters

GOOD, BAD = "short one", "this goes on and on and on and on and on and on and on"


def rng(seed=0):
    return np.random.default_rng(seed)


def talk(completions, persona, ratings=(), user=None, seed=0):
    """The answer to the last of some completions, where the earlier ones got these ratings."""
    earlier = tuple(Feedback("?", r) for r in ratings)
    user = user or SimulatedUser(noise=0)
    return user.reply([Dialogue(Example("A film"), persona, tuple(completions), earlier)], [rng(seed)])[0]


def patient(*wants, patience=4, says_why=1.0):
    return Persona(wants, patience, 0.0, says_why)


@pytest.mark.parametrize("personas", ["en", "zh"])
def test_it_is_a_user(personas):
    check_user(SimulatedUser(personas, wants=2))
    check_user(raters(personas, rated=0.5))


def test_there_is_enough_to_want_and_several_ways_to_say_it():
    for name, least in (("en", 12), ("zh", 8)):
        preferences = read_population(name).preferences.values()
        assert len(preferences) >= least and min(len(p.asks) for p in preferences) >= 3
        assert len({ask for p in preferences for ask in p.asks}) == sum(len(p.asks) for p in preferences)


@pytest.mark.parametrize("wants", [1, 3])
def test_people_differ_and_want_things_of_different_kinds(wants):
    user = SimulatedUser(wants=wants)
    people = user.begin([Example("A")] * 500, [rng(i) for i in range(500)])
    kinds = {name: p.kind for name, p in user.population.preferences.items()}
    assert all(len({kinds[name] for name in p.wants}) == wants for p in people)
    assert {name for p in people for name in p.wants} == set(kinds)
    assert {p.patience for p in people} == {2, 3, 4}
    assert all(0.4 <= p.noise <= 0.8 and 0.7 <= p.says_why <= 1.0 for p in people)
    assert people == user.begin([Example("A")] * 500, [rng(i) for i in range(500)])


def test_what_is_missing_is_asked_for_and_what_is_there_is_praised():
    user = SimulatedUser(noise=0)
    asks, says = user.population.preferences["brief"].asks, user.population.says
    answers = [talk([BAD], patient("brief"), user=user, seed=i) for i in range(60)]
    assert {a.text for a in answers} == set(asks) and {(a.rating, a.ends) for a in answers} == {(-4, False)}
    assert {talk([GOOD], patient("brief"), seed=i).text for i in range(60)} == set(says["pleased"])
    vague = {talk([BAD], patient("brief", says_why=0.0), seed=i).text for i in range(60)}
    assert vague == set(says["vague"])


def test_the_worst_is_asked_for_first():
    """Brief (fit 1) and about the music (fit -1): the opinion is their mean."""
    answer = talk([GOOD], patient("brief", "music"))
    assert answer.rating == 0 and answer.text in SimulatedUser().population.preferences["music"].asks


@pytest.mark.parametrize(
    ("completion", "ratings", "ends"),
    [
        (GOOD, [], False),
        (GOOD, [2], "goal"),
        (GOOD, [1], False),
        (GOOD, [3, 1], False),
        (BAD, [], False),
        (BAD, [-1], False),
        (BAD, [-1, 2, -1], True),
        (BAD, [0, 0, 0], False),
    ],
)
def test_two_good_turns_end_it_happily_and_patience_ends_it_unhappily(completion, ratings, ends):
    said = [GOOD] * len(ratings) + [completion]
    assert talk(said, patient("brief", patience=3), ratings).ends == ends


def test_silence_pleases_nobody():
    user = SimulatedUser(noise=0)
    for name in user.population.preferences:
        assert talk([" ... "], patient(name), user=user).rating == -4


def test_naming_everything_does_not_please_everybody():
    user = SimulatedUser(noise=0)
    topics = [p for p in user.population.preferences.values() if p.kind == "topic"]
    everything = " ".join(p.measure.words[0] for p in topics)
    assert all(talk([everything], patient(p.name), user=user).rating < 0 for p in topics)
    assert talk(["the songs"], patient("music"), user=user).rating == 4


@pytest.mark.parametrize("wants", [0, 5, 1.0])
def test_how_many_wants_there_can_be(wants):
    with pytest.raises(ValueError, match="expected 1 to 4"):
        SimulatedUser(wants=wants)


def test_a_person_is_kinder_than_others_and_becomes_harsher():
    kind = Persona(("brief",), 4, 0.0, 1.0, leniency=1.0, drift=-0.5)
    ratings = [talk([GOOD] * turn, kind, [0] * (turn - 1)).rating for turn in (1, 4, 8)]
    assert ratings == [4, 4, 2]  # 4 + 1 on a scale that ends at 4; 4 + 1 - 3 * 0.5 = 3.5, rounded to even; 4 + 1 - 3.5
    assert [talk([BAD] * turn, kind, [0] * (turn - 1)).rating for turn in (1, 4, 8)] == [-3, -4, -4]


def test_people_differ_by_what_was_asked_for():
    user = SimulatedUser(leniency=0.5, drift=0.1)
    people = user.begin([Example("A")] * 2000, [rng(i) for i in range(2000)])
    plain = SimulatedUser().begin([Example("A")] * 2000, [rng(i) for i in range(2000)])
    assert np.std([p.leniency for p in people]) == pytest.approx(0.5, abs=0.03)
    assert np.std([p.drift for p in people]) == pytest.approx(0.1, abs=0.006)
    assert [(p.wants, p.patience, p.noise) for p in people] == [(p.wants, p.patience, p.noise) for p in plain]


def test_some_turns_go_unrated_and_count_for_nothing():
    user = SimulatedUser(noise=0, rated=0.3)
    answers = [talk([BAD], patient("brief", patience=1), user=user, seed=i) for i in range(400)]
    given = [a for a in answers if a.rating is not None]
    assert len(given) / 400 == pytest.approx(0.3, abs=0.07) and {a.rating for a in given} == {-4}
    assert all(a.ends for a in given) and not any(a.ends for a in answers if a.rating is None)
    asks = user.population.preferences["brief"].asks
    assert {a.text for a in answers if a.rating is None} == set(asks)  # they still say what they miss
    assert talk([GOOD, BAD, GOOD], patient("brief"), [4, None]).ends == "goal"  # two ratings in a row


def test_raters_scatter_as_the_people_behind_the_reviews_do():
    """Both are followed through sets of 30 texts: what of a rating is the person, what is chance."""
    user, sets = make_user("raters(rated=1.0)"), {}
    for review in load_reviews(kind="film"):
        number, place = divmod(int(review.id.split(":")[1]) - 1, 30)
        sets.setdefault(number, []).append((place, np.array(review.ratings)))
    by_person = []  # of people and of simulated ones: (mean product of neighbours' deviations, their variance)
    for simulated in (False, True):
        neighbours, squares = [], []
        for number in range(0, 320, 8):
            texts = sets[number][:15]
            if len({len(ratings) for _, ratings in texts}) > 1:
                continue
            crowd = user.begin([Example("")] * len(texts[0][1]), [rng(number)] * len(texts[0][1]))
            rows = []
            for place, ratings in texts:
                if simulated:
                    said = (Feedback(),) * place
                    ratings = [
                        user.rating(Dialogue(Example(""), p, feedback=said), ratings.mean(), rng([number, place, i]))
                        for i, p in enumerate(crowd)
                    ]
                rows.append(np.array(ratings) - np.mean(ratings))
            deviations = np.array(rows)
            neighbours.append((deviations[:-4] * deviations[4:]).mean())
            squares.append((deviations**2).mean())
        by_person.append((np.mean(neighbours), np.mean(squares)))
    (person, total), (simulated_person, simulated_total) = by_person
    assert simulated_total == pytest.approx(total, rel=0.1)
    assert simulated_person == pytest.approx(person, rel=0.25) and person > 0.15


def test_a_displeased_person_sends_drafts_back_and_says_why():
    user = SimulatedUser(noise=0, drafts=3)
    again, asks = user.population.says["again"], user.population.preferences["brief"].asks
    person, sent_back = patient("brief", patience=1), Feedback("?", -4, revise=True)

    def answer(earlier, completion, seed=0):
        said = tuple([BAD] * len(earlier) + [completion])
        return user.reply([Dialogue(Example("A"), person, said, tuple(earlier))], [rng(seed)])[0]

    drafts = [answer([], BAD, seed) for seed in range(60)]
    assert {a.text for a in drafts} == {f"{a} {b}" for a in again for b in asks}
    assert all(a.revise and a.rating == -4 and not a.ends for a in drafts)
    assert answer([sent_back], BAD).revise
    last = answer([sent_back, sent_back], BAD)  # the third is taken as it is, and patience is at its end
    assert (last.revise, last.ends, last.rating) == (False, True, -4)
    assert not answer([sent_back], GOOD).revise and not answer([], GOOD).revise
    assert answer([Feedback("!", 4), sent_back], GOOD).ends == "goal"  # two good turns, as they were written last
    unrated = SimulatedUser(noise=0, drafts=2, rated=0.0)
    assert talk([BAD], person, user=unrated).revise and not talk([GOOD], person, user=unrated).revise


def test_a_person_cuts_in_on_what_they_dislike():
    user, person = SimulatedUser(noise=0, interrupts=0.5), patient("brief")

    def cuts(text):
        talks = [Dialogue(Example("A"), person, (text,))] * 200
        return [a for a in user.cut_in(talks, [rng(i) for i in range(200)]) if a is not None]

    assert user.cuts_in and not SimulatedUser().cuts_in
    assert cuts("one two three four five six seven") == [] and cuts(GOOD) == []
    said = cuts(BAD)
    assert len(said) == pytest.approx(100, abs=20) and {a.rating for a in said} == {-4}
    assert {a.text for a in said} == set(user.population.preferences["brief"].asks)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"noise": -1}, "noise=-1: expected at least 0"),
        ({"leniency": float("nan")}, "leniency=nan: expected at least 0"),
        ({"drift": -0.1}, "drift=-0.1: expected at least 0"),
        ({"rated": 1.5}, "rated=1.5: expected a probability"),
        ({"interrupts": -0.5}, "interrupts=-0.5: expected a probability"),
        ({"drafts": 0}, "drafts=0: expected a whole number from 1 on"),
    ],
)
def test_numbers_that_make_no_sense(wrong, message):
    with pytest.raises(ValueError, match=message):
        SimulatedUser(**wrong)


def test_persona_files_of_your_own(tmp_path):
    text = (FOLDER / "en.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace('"shorter, please."', '"kürzer, bitte."'), encoding="utf-8")
    assert "kürzer, bitte." in SimulatedUser(str(mine)).population.preferences["brief"].asks


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("patience = [2, 4]", "", "'patience' is missing"),
        ("tone = 1\n", "", "'cheerful' has no measure: expected one of words, tone, topic, pattern"),
        ("tone = 1\n", "tone = 7\n", "tone 7 of 'cheerful': expected 1, -1 or 0"),
        ("words = [2, 7]", "words = [7, 2]", r"\[7, 2\]: expected \[lowest, highest\]"),
        ("pattern = '!'", "pattern = '('", "mine.toml"),
        ("[says]", "[says", "mine.toml"),
        ('thanks = ["', 'thanks = "', "mine.toml"),
    ],
)
def test_persona_files_that_are_wrong_say_so(tmp_path, old, new, message):
    text = (FOLDER / "en.toml").read_text(encoding="utf-8")
    assert old in text
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        SimulatedUser(str(mine))


def test_a_missing_persona_file():
    with pytest.raises(FileNotFoundError, match="expected 'en', 'zh', or the path"):
        SimulatedUser("de")
