"""The queue: who gets what, when, and never twice."""

from __future__ import annotations

import random

import pytest

from dyngen_agents.feedback.store import NotInStore


@pytest.fixture
def texts(store):
    """Completions of a run, one dialogue each."""

    def make(count):
        return [
            store.add_turn(store.begin_dialogue(None, opening=f"Film {i}"), "agent", " is good") for i in range(count)
        ]

    return make


def test_eight_raters_three_a_text_and_no_text_twice_to_one_person(store, texts, clock):
    """Raters come in random order; some leave without an answer, and their leases expire."""
    tasks = [store.enqueue("rating", turn, raters=3) for turn in texts(6)]
    people, rng = [store.person(f"rater {i}") for i in range(8)], random.Random(0)
    seen = {person.id: [] for person in people}
    while store.waiting():
        clock.now += rng.choice([1.0, 700.0])
        person = rng.choice(people)
        assert store.count_waiting(person) == len(store.waiting(person))
        lease = store.lease(person, seconds=600)
        if lease is not None and rng.random() < 0.7:
            store.submit(lease, rng.randint(-4, 4))
            seen[person.id].append(lease.task.id)
    assert all(len(set(tasks)) == len(tasks) for tasks in seen.values())
    for task in tasks:
        people_of_task = [given.person for given in store.answers(task)]
        assert len(set(people_of_task)) == len(people_of_task) == 3


def test_a_lease_holds_a_place_until_it_expires(store, texts, clock):
    [turn] = texts(1)
    task = store.enqueue("rating", turn)
    ada, bob = store.person("ada"), store.person("bob")
    lease = store.lease(ada, seconds=60)
    assert (lease.expires, lease.task.leased, store.lease(bob)) == (1060.0, 1, None)
    clock.now = 1059.9
    assert store.lease(bob) is None and store.waiting(bob) == [] and len(store.waiting()) == 1
    clock.now = 1060.0
    taken = store.lease(bob)
    assert taken.task.id == task.id and store.lease(ada) is None
    store.submit(taken, 2)
    store.submit(lease, 4)  # late, and kept
    assert [given.value for given in store.answers(task)] == [2, 4] and store.waiting() == []


def test_who_asks_again_gets_the_same_again(store, texts, clock):
    for turn in texts(2):
        store.enqueue("rating", turn)
    ada = store.person("ada")
    first = store.lease(ada, seconds=60)
    clock.now += 30
    again = store.lease(ada, seconds=60)
    assert again.id == first.id and again.expires == 1090.0


def test_a_clock_that_goes_back_leaves_no_lease_stuck(store, texts, clock):
    store.enqueue("rating", texts(1)[0])
    store.lease(store.person("ada"), seconds=600)
    clock.now -= 3600
    assert store.lease(store.person("bob")) is not None


def test_the_same_texts_are_one_task(store, texts, answers):
    one, other, _ = answers
    task = store.enqueue("preference", (one, other), raters=2)
    assert store.enqueue("preference", (other, one), raters=1) == task
    assert store.enqueue("rating", one).id != task.id
    dialogue = store.begin_dialogue(store.person("bob"))
    asked = store.add_turn(dialogue, "user", "Any good films?")
    same = store.add_turn(dialogue, "agent", "Alien!")
    assert store.enqueue("rating", same).turns == (one.id,)
    assert store.enqueue("rating", asked).turns == (asked.id,)
    ada = store.person("ada")
    store.submit(store.lease(ada, kind="preference"), one)
    more = store.enqueue("preference", (one, other), raters=5)
    assert (more.raters, more.answers) == (5, 1)


def test_an_answered_task_opens_again_for_more_raters(store, texts):
    [turn] = texts(1)
    store.enqueue("rating", turn)
    store.submit(store.lease(store.person("ada")), 1)
    assert store.waiting() == []
    store.enqueue("rating", turn, raters=2)
    assert store.lease(store.person("ada")) is None and store.lease(store.person("bob")) is not None


def test_who_has_rated_a_text_elsewhere_is_not_asked(store, answers):
    ada, bob = store.person("ada"), store.person("bob")
    store.add_feedback("rating", ada, answers[0], 1)
    store.enqueue("rating", answers[0])
    store.enqueue("thumbs", answers[0])
    assert store.lease(ada).task.kind == "thumbs" and store.lease(bob).task.kind == "rating"


def test_answers_are_idempotent_and_one_a_person(store, texts):
    [turn] = texts(1)
    task = store.enqueue("rating", turn, raters=2)
    lease = store.lease(store.person("ada"))
    first = store.submit(lease, 3, key="k")
    assert store.submit(lease, 3, key="k") == first
    with pytest.raises(ValueError, match="ada has already answered this"):
        store.submit(lease, 3, key="other")
    with pytest.raises(ValueError, match="used the key 'k' for other feedback"):
        store.submit(lease, 2, key="k")
    assert store.answers(task) == [first] and store.task(task).answers == 1


def test_what_is_skipped_goes_to_others(store, texts):
    store.enqueue("rating", texts(1)[0])
    ada, bob = store.person("ada"), store.person("bob")
    lease = store.lease(ada)
    store.skip(lease)
    assert store.lease(ada) is None
    taken = store.lease(bob)
    store.submit(taken, 1)
    with pytest.raises(ValueError, match="bob has already answered this"):
        store.skip(taken)


def test_the_highest_priority_goes_first_then_the_oldest(store, texts):
    for turn, priority in zip(texts(4), (0, 2, -1, 2), strict=True):
        store.enqueue("rating", turn, priority=priority)
    order = []
    while lease := store.lease(store.person("ada")):
        order.append(lease.task.priority)
        store.submit(lease, 0)
    assert order == [2, 2, 0, -1]
    assert [given.turns for given in store.feedback()] == [(2,), (4,), (1,), (3,)]


def test_of_two_and_of_several_the_order_is_asked(store, answers):
    ada, (one, other, third) = store.person("ada"), answers
    store.enqueue("preference", (one, other))
    lease = store.lease(ada)
    for wrong in (third.id, None, "1", [one.id]):
        with pytest.raises(ValueError, match="expected the turn that is better"):
            store.submit(lease, wrong)
    assert store.submit(lease, other).turns == (other.id, one.id)
    store.enqueue("ranking", answers)
    lease = store.lease(ada)
    for wrong in ([one.id, other.id], [one.id, one.id, other.id], 5):
        with pytest.raises(ValueError, match="expected all turns, the best first"):
            store.submit(lease, wrong)
    assert store.submit(lease, [third.id, one.id, other.id]).turns == (third.id, one.id, other.id)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(raters=0), "raters is 0"),
        (dict(raters=True), "raters is True"),
        (dict(raters=1.5), "raters is 1.5"),
        (dict(priority=float("nan")), "priority is nan"),
        (dict(kind="applause"), "kind of feedback is 'applause'"),
        (dict(kind="preference"), "preference of 1 turns"),
        (dict(turns=99), "there is no turn 99"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(store, answers, changes, message):
    with pytest.raises(ValueError, match=message):
        store.enqueue(**(dict(kind="rating", turns=answers[0]) | changes))
    assert store.waiting() == []


def test_leases_that_make_no_sense_are_refused(store, texts):
    store.enqueue("rating", texts(1)[0])
    ada = store.person("ada")
    for seconds in (0, -1, float("inf"), float("nan"), True, "60"):
        with pytest.raises(ValueError, match="expected a finite number above 0"):
            store.lease(ada, seconds)
    for wrong in (9, None):
        with pytest.raises(NotInStore):
            store.submit(wrong, 1)
        with pytest.raises(NotInStore):
            store.lease(wrong)
    with pytest.raises(ValueError, match="rating is 5"):
        store.submit(store.lease(ada), 5)
    assert store.lease(ada) is not None  # nothing is lost by a bad answer


def test_who_has_rated_much_does_not_wait_longer(store, texts):
    """In steps of SQLite's virtual machine: to go through all that ada has said for each task would take 150,000."""
    steps = []
    with store.at_once(), store.connection.writing() as database:
        for turn in texts(200):
            store.enqueue("rating", turn, raters=2)
        ada = store.person("ada")
        for number in range(180):
            database.set_progress_handler(lambda number=number: steps.append(number), 100)
            lease = store.lease(ada)
            database.set_progress_handler(None, 0)
            store.submit(lease, 1)
    assert max(100 * steps.count(number) for number in range(180)) < 20_000
