"""What the rating view is told of a task."""

from types import SimpleNamespace

from dyngen_agents.feedback.page.rating_routes import _shown
from dyngen_agents.feedback.people import people_in
from dyngen_agents.feedback.store import FeedbackStore
from dyngen_env.scoring.people import Question
from dyngen_env.types import Dialogue, Example, Feedback


def test_a_turn_that_an_env_wants_an_answer_to_says_so(tmp_path):
    file = str(tmp_path / "people.db")
    talk = Dialogue(Example("A")).said("b").heard(Feedback("c")).said("d")
    people_in(file).ask([Question(talk), Question(talk, reply=True)])
    with FeedbackStore(file) as store:
        services = SimpleNamespace(chat=SimpleNamespace(store=store))
        rating, reply = (_shown(services, store.lease(store.person("ada"), kind=kind)) for kind in ("rating", "words"))
    assert rating["reply"] is False and reply["reply"] is True
    assert rating["before"] == [
        {"role": "prompt", "text": "A"}, {"role": "agent", "text": "b"}, {"role": "user", "text": "c"}
    ]  # fmt: skip
    assert [turn["text"] for turn in reply["turns"]] == ["d"]
