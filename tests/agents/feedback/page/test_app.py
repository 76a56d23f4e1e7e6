"""The whole application, asked without a network: logins, proxies, errors in JSON, the board."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install starlette uvicorn")

from dyngen_agents.feedback.live.log import NotTheirs
from dyngen_agents.feedback.page.access import Access
from dyngen_agents.feedback.page.app import make_app
from dyngen_agents.feedback.page.chat import Chat
from dyngen_agents.feedback.page.guard import MAX_BODY
from dyngen_agents.feedback.page.served_model import TurnSettings
from dyngen_agents.feedback.page.server import config_of
from dyngen_agents.feedback.store import FeedbackStore
from tests.support.asgi import ask

ACCESS = Access(bytes(32))


class Learner:
    """A learner that has learned nothing."""

    def undo(self, person):
        raise ValueError("there is nothing to undo")


@pytest.fixture
def store(tmp_path):
    with FeedbackStore(tmp_path / "feedback.db") as opened:
        yield opened


@pytest.fixture
def app(store):
    model = SimpleNamespace(settings=TurnSettings(), frame=SimpleNamespace(max_context_tokens=64))
    writer = SimpleNamespace(open_in=lambda dialogue: [])
    return make_app(Chat(store, model, writer, Learner()), ACCESS)


def asked(app, method, path, name="ada", body=b"{}", **headers):
    """Status and JSON of what a person asks for."""
    cookie = ACCESS.cookie(app.state.services.chat.store.person(name))
    given = {"host": "localhost", "cookie": f"dyngen={cookie}", "x-csrf-token": ACCESS.csrf(cookie), **headers}
    status, answered, said = ask(app, method, path, given, body)
    assert answered["content-type"] == "application/json"
    return status, json.loads(said)


def login(app, name, code="", **headers):
    body = json.dumps({"name": name, "code": code}).encode()
    given = {"host": "localhost", "content-type": "application/json", **headers}
    status, answered, said = ask(app, "POST", "/login", given, body)
    return status, json.loads(said), answered.get("set-cookie", "")


def test_a_name_is_one_persons_however_it_is_written(app, store):
    code = login(app, "Ada")[1]["code"]
    for name in ("ada", "ADA ", "Ada"):
        assert login(app, name)[0] == 403
        assert login(app, name, code)[1]["person"] == "Ada"
    store.person("x" * 100)  # by another program
    assert login(app, "x" * 100, ACCESS.code(store.person("x" * 100)))[0] == 200
    assert login(app, "y" * 41)[0] == 400
    assert [person.name for person in store.people()] == ["Ada", "x" * 100]


def test_who_was_forgotten_is_asked_to_log_in_again_and_is_not_whoever_has_the_name_now(app, store):
    _, said, _ = login(app, "ada")
    cookie = ACCESS.cookie(store.person("ada"))
    given = {"host": "localhost", "cookie": f"dyngen={cookie}", "x-csrf-token": ACCESS.csrf(cookie)}
    assert ask(app, "GET", "/api/dialogues", given)[0] == 200
    store.forget("ada")
    for method, path in (("GET", "/api/me"), ("GET", "/api/board"), ("POST", "/api/dialogues"), ("GET", "/rate")):
        assert ask(app, method, path, given, b'{"key": "k"}')[0] == 401
    assert store.people() == []
    assert login(app, "ada")[0] == 200  # somebody else
    assert ask(app, "GET", "/api/dialogues", given)[0] == 401
    for code, headers in ((said["code"], {}), ("", {"cookie": f"dyngen={cookie}"})):
        assert login(app, "ada", code, **headers)[0] == 403


def test_a_name_that_was_made_up_is_nobody_elses(app, store, monkeypatch):
    monkeypatch.setattr("dyngen_agents.feedback.page.login_routes.pseudonym", lambda _: "calm-otter-1000")
    assert [login(app, "")[0] for _ in range(2)] == [200, 403]


@pytest.mark.parametrize("behind_proxy", [False, True])
def test_cookies_are_for_tls_alone_where_a_proxy_that_is_believed_speaks_it(app, behind_proxy):
    config = config_of(app, behind_proxy)
    config.load()
    for scheme, secure in (("https", behind_proxy), ("http", False)):
        status, _, cookie = login(config.loaded_app, f"ada-{scheme}", **{"x-forwarded-proto": scheme})
        assert status == 200 and ("Secure" in cookie) == secure


def test_what_is_somebody_elses_is_as_if_it_was_not_there(app, store):
    bob, ada = (store.person(name) for name in ("bob", "ada"))
    dialogue = store.begin_dialogue(bob)
    turn = store.add_turn(dialogue, "agent", "hello")
    store.enqueue("rating", turn)
    lease = store.lease(bob).id
    about = {"turns": [0], "kind": "rating", "value": 1, "key": "k"}
    for path, number, body in (
        ("/api/dialogues/{}", dialogue.id, None), ("/why/{}", turn.id, None), ("/api/task/{}/skip", lease, {}),
        ("/api/feedback", turn.id, about), ("/api/dialogues/{}/answers", dialogue.id, {"after": 1, "key": "k"}),
    ):  # fmt: skip
        answers = []
        for each in (number, 987):
            sent = None if body is None else json.dumps(body).replace("[0]", f"[{each}]").encode()
            status, said = asked(app, "GET" if sent is None else "POST", path.format(each), body=sent or b"")
            answers.append((status, said["error"].replace(str(each), "N")))
        assert answers[0] == answers[1] and answers[0][0] == 404, path
    assert ada.name == "ada"


def test_errors_are_json_in_a_sentence(app):
    large = b'{"key": "' + b"x" * MAX_BODY + b'"}'
    for method, path, body, status in (
        ("POST", "/api/dialogues", large, 413), ("POST", "/api/feedback", large, 413), ("POST", "/login", large, 413),
        ("POST", "/api/dialogues", b'{"key": "\\n"}', 400), ("GET", "/nowhere", b"", 404),
        ("POST", "/api/board", b"", 405), ("POST", "/api/versions/undo", b"{}", 400),
    ):  # fmt: skip
        found, said = asked(app, method, path, body=body)
        assert (found, bool(said["error"])) == (status, True), (path, said)


def test_the_board_counts_what_is_said_about_the_agents_turns(app, store):
    ada = store.person("ada")
    dialogue = store.begin_dialogue(ada)
    asked_, answer = (store.add_turn(dialogue, role, role) for role in ("user", "agent"))
    store.add_feedback("rating", ada, asked_, -4)
    store.add_feedback("rating", ada, answer, 2)
    store.add_feedback("preference", ada, [answer, asked_])
    app.state.services.chat.learner = None
    status, board = asked(app, "GET", "/api/board")
    assert (status, board["kinds"], board["rated"], board["mean_rating"]) == (200, {"rating": 1}, 1, 2.0)


def test_nobody_takes_back_what_others_have_said(app):
    def undo(person):
        raise NotTheirs("v1 has learned from what others have said, too")

    app.state.services.chat.learner.undo = undo
    status, said = asked(app, "POST", "/api/versions/undo")
    assert (status, said["error"]) == (403, "v1 has learned from what others have said, too")
