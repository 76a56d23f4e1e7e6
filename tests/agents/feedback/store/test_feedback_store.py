"""The store: what goes in comes out, once, and nothing that makes no sense goes in."""

from __future__ import annotations

import math
import pickle
import sqlite3

import pytest

from dyngen_agents.feedback.store import FeedbackStore, ModelStamp, NotInStore

# What JSON, SQLite and C strings trip over; the last is a megabyte.
ODD = ("", "\x00", "a\x00b", "<script>", "\u202eright to left", "\u2028", "🦊" * 3, '"\\', "x" * 1_000_000)


def test_a_rating_leads_to_all_that_was_rated(store):
    stamp, tuned = ModelStamp("smollm2", "sha256:ab"), ModelStamp("smollm2", "sha256:ab", "adapter-3")
    dialogue = store.begin_dialogue(store.person("ada"), stamp, {"system": "Be kind."}, opening="The film")
    sampled = dict(tokens=[44, 7], logprobs=[-0.1, -2.5e-17], context=[1, 2, 3], sampling={"temperature": 0.7})
    turn = store.add_turn(dialogue, "agent", " is good", model=tuned, **sampled)
    given = store.add_feedback("rating", dialogue.person, turn, 3, extra={"seconds": 2.5})
    with FeedbackStore(store.path, create=False) as again:
        [found] = again.feedback()
        rated = again.turn(found.turns[0])
        assert found == given and (found.kind, found.value, found.extra) == ("rating", 3.0, {"seconds": 2.5})
        assert (rated.text, rated.tokens, rated.logprobs) == (" is good", (44, 7), (-0.1, -2.5e-17))
        assert (rated.context, rated.sampling, rated.model) == ((1, 2, 3), {"temperature": 0.7}, tuned)
        talk = again.dialogue(rated.dialogue)
        assert (talk.person.name, talk.model, talk.settings) == ("ada", stamp, {"system": "Be kind."})
        assert talk.opening == "The film"


def test_turns_follow_stand_beside_and_replace_each_other(store):
    dialogue = store.begin_dialogue(store.person("ada"))
    asked = store.add_turn(dialogue, "user", "hello")
    one = store.add_turn(dialogue, "agent", "one")
    other = store.add_turn(dialogue, "agent", "other", beside=one)
    better = store.add_turn(dialogue, "agent", "better", replaces=other)
    thanks = store.add_turn(dialogue, "user", "thanks", after=one)
    last = store.add_turn(dialogue, "agent", "bye")
    parents = [turn.parent for turn in store.turns(dialogue)]
    assert parents == [None, asked.id, asked.id, asked.id, one.id, thanks.id]
    assert better.replaces == other.id and other.replaces is None
    assert [turn.text for turn in store.history(last)] == ["hello", "one", "thanks"]
    assert store.history(asked) == []
    elsewhere = store.begin_dialogue(store.person("ada"))
    with pytest.raises(ValueError, match=f"turn {one.id} belongs to dialogue {dialogue.id}, the new one to dialogue 2"):
        store.add_turn(elsewhere, "agent", "lost", after=one)
    with pytest.raises(ValueError, match="only one of"):
        store.add_turn(dialogue, "agent", "lost", after=one, replaces=other)


def test_texts_come_back_as_they_were(store):
    dialogue = store.begin_dialogue(store.person("ada"))
    turns = [store.add_turn(dialogue, "user", text) for text in ODD]
    assert tuple(turn.text for turn in store.turns(dialogue)) == ODD
    for text in ODD:
        assert store.add_feedback("words", dialogue.person, turns[0], f"{text}!").value == f"{text}!"
    # No file can hold half of a surrogate pair; two halves are a character.
    assert store.add_turn(dialogue, "user", "🦊\ud800, \ud83e\udd8a").text == "🦊\ufffd, 🦊"


def test_a_second_attempt_with_the_same_key_is_the_first(store, answers):
    ada, bob = store.person("ada"), store.person("bob")
    first = store.add_feedback("rating", ada, answers[0], 2, key="k")
    assert store.add_feedback("rating", ada, answers[0], 2.0, key="k") == first
    assert store.add_feedback("rating", bob, answers[0], -1, key="k") != first  # keys are each person's own
    with pytest.raises(ValueError, match="ada has used the key 'k' for other feedback"):
        store.add_feedback("rating", ada, answers[0], 3, key="k")
    assert [given.value for given in store.feedback()] == [2.0, -1.0]
    dialogue = store.begin_dialogue(ada, key="talk")
    assert store.begin_dialogue(ada, key="talk") == dialogue
    turn = store.add_turn(dialogue, "user", "hello", key="turn")
    assert store.add_turn(dialogue, "user", "hello", key="turn") == turn
    with pytest.raises(ValueError, match="the key 'turn' is that of another turn"):
        store.add_turn(dialogue, "user", "goodbye", key="turn")
    with pytest.raises(ValueError, match="the key 'talk' is that of another dialogue"):
        store.begin_dialogue(bob, key="talk")


def test_feedback_is_found_by_turn_by_person_and_since(store, answers):
    ada, bob, (one, other, _) = store.person("ada"), store.person("bob"), answers
    rating = store.add_feedback("rating", ada, one, 1)
    choice = store.add_feedback("preference", bob, (other, one))
    thumbs = store.add_feedback("thumbs", ada, other, -1)
    assert store.feedback(turn=one) == [rating, choice] and store.feedback(person=ada) == [rating, thumbs]
    assert store.feedback(since=choice) == [thumbs] and store.feedback(since=0) == store.feedback()
    assert choice.turns == (other.id, one.id)


def test_every_kind_is_stored(store, answers):
    ada, ids = store.person("ada"), tuple(turn.id for turn in answers)
    given = [
        ("rating", ids[:1], -4.0),
        ("thumbs", ids[:1], 1),
        ("preference", ids[:2], None),
        ("ranking", ids, None),
        ("span", ids[:1], {"start": 0, "end": 6, "good": False}),
        ("correction", ids[:1], "Alien."),
        ("words", ids[:1], "shorter, please"),
    ]
    for kind, turns, value in given:
        store.add_feedback(kind, ada, turns, value)
    assert [(found.kind, found.turns, found.value) for found in store.feedback()] == given


@pytest.mark.parametrize(
    "kind, turns, value, message",
    [
        ("rating", [0], 9, r"rating is 9, expected a number from -4 to 4"),
        ("rating", [0], math.nan, "rating is nan"),
        ("rating", [0], True, "rating is True"),
        ("rating", [0], 10**30, "rating is a number of more than 20 digits"),
        ("rating", [0, 1], 1, "rating of 2 turns: expected 1 turn"),
        ("thumbs", [0], 0, "thumbs is 0, expected 1 for up or -1 for down"),
        ("preference", [0], None, "preference of 1 turns: expected 2 turns"),
        ("preference", [0, 0], None, "expected different ones"),
        ("preference", [0, 1], 1, "value is 1, expected none"),
        ("ranking", [0], None, "expected two or more turns"),
        ("span", [0], {"start": 0, "end": 7, "good": True}, r"\[0, 7\) of a text of 6 characters"),
        ("span", [0], {"start": 2, "end": 2, "good": True}, r"\[2, 2\)"),
        ("span", [0], {"start": 0, "end": 3}, "span is {'start': 0, 'end': 3}, expected"),
        ("span", [0], {"start": 0, "end": 3, "good": 1}, "expected"),
        ("correction", [0], None, "correction is None, expected a text"),
        ("words", [0], " \n", "words is empty"),
        ("applause", [0], 1, "kind of feedback is 'applause', expected one of rating, thumbs"),
    ],
)
def test_feedback_that_makes_no_sense_is_refused(store, answers, kind, turns, value, message):
    with pytest.raises(ValueError, match=message):
        store.add_feedback(kind, store.person("ada"), [answers[i] for i in turns], value)
    assert store.feedback() == []


def test_what_is_not_there_is_named(store, answers):
    for wrong in (99, 0, -1, 2**70, True, "1", None):
        with pytest.raises(NotInStore):
            store.add_feedback("rating", store.person("ada"), wrong, 1)
        with pytest.raises(NotInStore):
            store.turn(wrong)
        with pytest.raises(NotInStore):
            store.add_feedback("rating", wrong, answers[0], 1)
        with pytest.raises(NotInStore):
            store.begin_dialogue(wrong) if wrong is not None else store.dialogue(wrong)
    with pytest.raises(NotInStore, match="there is no dialogue 5 in this store"):
        store.add_turn(5, "user", "hello")


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(logprobs=[-1.0]), "1 logprobs for no tokens"),
        (dict(tokens=[1, 2], logprobs=[-1.0]), "1 logprobs for 2 tokens"),
        (dict(tokens=[1], logprobs=[math.nan]), "expected a finite number for each token"),
        (dict(tokens=[-1]), "ids from 0 on"),
        (dict(tokens=["1"]), "whole numbers"),
        (dict(sampling={"temperature": math.inf}), "sampling cannot be written as JSON"),
        (dict(sampling=[]), "sampling is '\\[\\]', expected a JSON object"),
        (dict(key="\n"), "key is"),
        (dict(role="system"), "role is 'system', expected 'agent' or 'user'"),
        (dict(text=None), "a turn is None, expected a text"),
        (dict(created=math.nan), "created is 'nan'"),
    ],
)
def test_turns_that_make_no_sense_are_refused(store, changes, message):
    dialogue = store.begin_dialogue(None)
    with pytest.raises(ValueError, match=message):
        store.add_turn(dialogue, **(dict(role="agent", text="hello") | changes))
    assert store.turns(dialogue) == []


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x00", "\ud800", "x" * 101, None, 5])
def test_names_are_short_and_can_be_seen(store, name):
    with pytest.raises(ValueError, match="a person's name is"):
        store.person(name)


def test_people_are_known_by_their_names(store):
    assert store.person("ada") == store.person(" ada ") != store.person("Ada")
    assert [person.name for person in store.people()] == ["ada", "Ada"]


def test_nothing_that_was_said_can_be_changed(store, answers):
    given = store.add_feedback("rating", store.person("ada"), answers[0], 1)
    other = sqlite3.connect(store.path)
    for statement in ("UPDATE feedback SET value = '4'", "DELETE FROM feedback_turns", "UPDATE turns SET text = ''"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
    other.close()
    assert store.feedback() == [given]


def test_order_does_not_depend_on_the_clock(store, answers, clock):
    ada = store.person("ada")
    for clock.now, rating in ((50.0, 1), (-3.0, 2), (50.0, 3)):
        store.add_feedback("rating", ada, answers[0], rating)
    assert [given.value for given in store.feedback()] == [1, 2, 3]


def test_a_block_is_stored_as_a_whole(store, answers):
    ada = store.person("ada")
    with pytest.raises(ValueError, match="rating is 9"), store.at_once():
        store.add_feedback("rating", ada, answers[0], 1)
        store.add_feedback("rating", ada, answers[0], 9)
    assert store.feedback() == []
    with store.at_once():
        store.add_feedback("rating", ada, answers[0], 1)
        assert len(store.feedback()) == 1
    assert len(store.feedback()) == 1


def test_a_store_travels_to_other_processes_by_its_path(store, answers):
    with pickle.loads(pickle.dumps(FeedbackStore(store.path))) as there:
        assert there.turn(answers[0]) == answers[0]
