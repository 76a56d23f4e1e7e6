"""What every request passes: hosts, sessions, origins, CSRF, sizes, rates; asked without a network."""

import json

import pytest

from dyngen_agents.feedback.page.access import Access
from dyngen_agents.feedback.page.limits import Rate

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install starlette uvicorn")

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from dyngen_agents.feedback.page.guard import LOOPBACK, MAX_BODY, Guard
from dyngen_agents.feedback.page.server import is_loopback, token_for
from dyngen_agents.feedback.store import Person
from tests.support import asgi

ACCESS = Access(bytes(32), "a token")
ANNA, BOB, FORGOTTEN = (Person(number, name, 0.0) for number, name in ((1, "anna"), (2, "bob"), (0, "anna")))
COOKIE = ACCESS.cookie(ANNA)
GOOD = {"host": "localhost:8000", "cookie": f"dyngen={COOKIE}", "x-csrf-token": ACCESS.csrf(COOKIE)}


def guarded(rate=None, login_rate=None, hosts=LOOPBACK):
    async def echo(request):
        return JSONResponse({"person": request.state.person, "size": len(await request.body())})

    paths = [Route(path, echo, methods=["GET", "POST"]) for path in ("/", "/login", "/api/x")]
    app = Starlette(routes=paths)
    return Guard(
        app, ACCESS, "dyngen", hosts, known, b"<p>log in</p>", rate or Rate(1e9, 10**9), login_rate or Rate(1e9, 10**9)
    )


def known(number, name):
    return number > 0


def ask(app, method, path, headers=GOOD, body=b""):
    return asgi.ask(app, method, path, headers, body)


@pytest.mark.parametrize(
    ("status", "method", "path", "changes"),
    [
        (200, "GET", "/", {}),
        (200, "POST", "/api/x", {}),
        (200, "POST", "/api/x", {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}),
        (200, "GET", "/login", {"cookie": ""}),
        (200, "POST", "/login", {"cookie": "", "x-csrf-token": ""}),
        (401, "GET", "/", {"cookie": ""}),
        (401, "GET", "/login/../api/x", {"cookie": ""}),
        (401, "GET", "/nowhere", {"cookie": "dyngen=forged.1.1"}),
        (401, "POST", "/api/x", {"cookie": 'dyngen="\\'}),
        (401, "GET", "/api/x", {"cookie": f"other={COOKIE}"}),
        (401, "GET", "/api/x", {"cookie": f"dyngen={ACCESS.cookie(FORGOTTEN)}"}),
        (403, "POST", "/api/x", {"x-csrf-token": ""}),
        (403, "POST", "/api/x", {"x-csrf-token": ACCESS.csrf(COOKIE) + "x"}),
        (403, "POST", "/api/x", {"x-csrf-token": "é"}),
        (403, "POST", "/api/x", {"origin": "http://localhost:8001"}),
        (403, "POST", "/api/x", {"origin": "null"}),
        (403, "POST", "/api/x", {"sec-fetch-site": "cross-site"}),
        (403, "DELETE", "/api/x", {"sec-fetch-site": "same-site"}),
        (403, "POST", "/login", {"cookie": "", "origin": "https://evil.example"}),
        (413, "POST", "/api/x", {"content-length": str(MAX_BODY + 1)}),
        (421, "GET", "/login", {"host": "evil.example"}),
        (421, "GET", "/", {"host": ""}),
        (421, "GET", "/", {"host": "localhost.evil.example:8000"}),
        (421, "GET", "/", {"host": "[::1"}),
        (200, "GET", "/", {"host": "[::1]:8000"}),
        (404, "GET", "/nowhere", {}),
    ],
)
def test_what_passes(status, method, path, changes):
    found, headers, body = ask(guarded(), method, path, {**GOOD, **changes})
    assert found == status
    assert headers["x-content-type-options"] == "nosniff" and "default-src 'none'" in headers["content-security-policy"]
    if status in (401, 403, 413, 421):
        assert json.loads(body)["error"]


def test_a_browser_that_is_not_logged_in_sees_the_login():
    status, headers, body = ask(guarded(), "GET", "/board", {"host": "localhost", "accept": "text/html,*/*"})
    assert status == 401 and body == b"<p>log in</p>" and headers["content-type"].startswith("text/html")


def test_a_body_without_a_length_is_bounded_too():
    assert ask(guarded(), "POST", "/api/x", body=b"x" * MAX_BODY)[0] == 200
    status, headers, _ = ask(guarded(), "POST", "/api/x", body=b"x" * (MAX_BODY + 1))
    assert status == 413 and "content-security-policy" in headers


def test_rates_are_by_person_and_logins_by_address():
    app = guarded(rate=Rate(1, 2), login_rate=Rate(0.1, 1))
    assert [ask(app, "GET", "/")[0] for _ in range(3)] == [200, 200, 429]
    other = ACCESS.cookie(BOB)
    assert ask(app, "GET", "/", {**GOOD, "cookie": f"dyngen={other}"})[0] == 200
    statuses = [ask(app, "POST", "/login", {"host": "localhost"}) for _ in range(2)]
    assert [status for status, *_ in statuses] == [200, 429] and statuses[1][1]["retry-after"] == "10"


def test_open_to_others_any_host_will_do():
    assert ask(guarded(hosts=None), "GET", "/", {**GOOD, "host": "lab.example"})[0] == 200


def test_an_address_that_others_can_reach_asks_for_a_token():
    for loopback in ("127.0.0.1", "127.8.8.8", "localhost", "::1"):
        assert is_loopback(loopback) and token_for(loopback, None) is None
    for reachable in ("0.0.0.0", "::", "192.168.1.2", "lab.example", "localhost.example"):
        made = token_for(reachable, None)
        assert not is_loopback(reachable) and len(made) >= 24 and made != token_for(reachable, None)
    assert token_for("127.0.0.1", None, behind_proxy=True) is not None
    assert token_for("127.0.0.1", "correct horse") == "correct horse"
    with pytest.raises(ValueError, match="7 characters, expected at least 8"):
        token_for("0.0.0.0", "1234567")
