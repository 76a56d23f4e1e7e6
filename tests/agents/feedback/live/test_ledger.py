"""A store as the ledger of a learner: what was forgotten in it, by whichever process, and which version knows what."""

from dyngen_agents.feedback.live import StoreLedger
from dyngen_agents.feedback.store import FeedbackStore


def test_what_was_forgotten_is_missing_and_the_rest_is_booked(store, answers, tmp_path):
    ada, bob = (store.person(name) for name in ("ada", "bob"))
    own = store.add_turn(store.begin_dialogue(bob), "agent", "hello")
    given = [store.add_feedback("thumbs", bob, turn, 1).id for turn in (answers[0], own)]
    ledger = StoreLedger(store, tmp_path / "versions")
    assert (ledger.forgotten(), ledger.missing(given)) == (0, set())
    with FeedbackStore(store.path) as another:
        another.forget(ada)  # bob's feedback on her dialogue goes with her
    assert (ledger.forgotten(), ledger.missing(given)) == (1, {given[0]})
    ledger.book("v1", given)
    assert store.forget(bob).runs == (str(tmp_path / "versions" / "v1"),)
