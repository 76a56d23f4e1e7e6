"""What was said of turns: joined by turn, remembered by person, forgotten by name."""

from dataclasses import replace

import pytest

from dyngen_agents.feedback.live.log import TurnLog
from tests.support.rated_turns import BYTES, rated_turn


def test_what_is_said_later_of_a_turn_joins_what_was_said_before():
    log = TurnLog(BYTES, note_tokens=8, kept_notes=4)
    assert log.add(rated_turn(1, rating=3))
    assert not log.add(rated_turn(1, rating=None, words="longer", feedback=("f9",)))
    (turn,) = log.latest(5)
    assert (turn.rating, turn.words, turn.feedback) == (3, "longer", ("f1", "f9"))


def test_the_memory_of_a_person_is_their_latest_answers():
    log = TurnLog(BYTES, note_tokens=8, kept_notes=2)
    for number, words in enumerate(["a", "b", "c"]):
        log.add(rated_turn(number, words=words, rating=number))
    log.add(rated_turn(7, words="z", person="bob"))
    memory = log.memory_of("ann")
    assert [note.ids for note in memory.notes] == [tuple(BYTES.encode_reply(words, BYTES.end_id)) for words in "bc"]
    assert [note.label for note in memory.notes] == [6, 7]  # ratings 1 and 2 of -4 to 4, from label 1 on
    assert log.memory_of("nobody") is None


def test_what_was_said_in_this_dialogue_counts_from_where_it_was_said():
    """Two turns of a dialogue, each seen by the turn after it; what was said elsewhere is seen from the first token."""
    log = TurnLog(BYTES, note_tokens=8, kept_notes=4)
    elsewhere = rated_turn(0, "no", words="a", prompt="other")
    first = rated_turn(1, "good", words="b")
    second = replace(rated_turn(2, words="c"), context=(*first.context, *first.tokens, 5, 6, 7))
    for turn in (elsewhere, first, second):
        log.add(turn)
    context = (*second.context, *second.tokens, 8, 9)
    assert [note.begins for note in log.memory_of("ann", context).notes] == [
        0,
        len(second.context) - 1,
        len(context) - 1,
    ]
    assert [note.begins for note in log.memory_of("ann", second.context).notes][1] == len(second.context) - 1
    assert [note.begins for note in log.memory_of("ann").notes] == [0, 0, 0]


def test_no_notes_are_no_memory():
    log = TurnLog(BYTES, note_tokens=8, kept_notes=0)
    log.add(rated_turn(1))
    assert log.memory_of("ann") is None


def test_dropped_turns_are_gone_from_memory_too():
    log = TurnLog(BYTES, note_tokens=8, kept_notes=4)
    for number in range(3):
        log.add(rated_turn(number, rating=number))
    log.drop([2, "unknown"])
    assert [turn.turn for turn in log.all()] == [0, 1]
    assert [note.label for note in log.memory_of("ann").notes] == [5, 6]


@pytest.mark.parametrize("wrong", [{"rating": 5.0}, {"tokens": ()}, {"context": ()}])
def test_turns_that_nobody_could_have_written_or_rated_are_refused(wrong):
    with pytest.raises(ValueError, match="turn 1"):
        replace(rated_turn(1), **wrong)
