"""HTTP for the login: a pseudonym, the token if there is one, and the code of a pseudonym that is taken."""

from __future__ import annotations

import threading
from html import escape
from importlib.resources import files
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dyngen_agents.feedback.page.access import DAYS, Access, known_as, pseudonym
from dyngen_agents.feedback.page.fields import Fields, fields_of
from dyngen_agents.feedback.page.services import services
from dyngen_agents.feedback.store import FeedbackStore, Person

CLAIMING = threading.Lock()  # two people who want the same new name at the same time

TOKEN_FIELD = (
    '<label>Token <span class="muted">Whoever serves this page has it.</span>'
    '<input name="token" type="password" autocomplete="current-password" maxlength="200" required></label>'
)


def login_page(with_token: bool, error: str = "") -> bytes:
    """The page as HTML. The error is text, and becomes HTML here."""
    template = files(__package__).joinpath("static/login.html").read_text(encoding="utf-8")
    return template.replace("@TOKEN@", TOKEN_FIELD if with_token else "").replace("@ERROR@", escape(error)).encode()


def show(request: Request) -> Response:
    """GET /login: the page. Who is logged in may become somebody else here."""
    return _page(request, "", 200)


async def login(request: Request) -> Response:
    """POST /login {name, token, code}: as a form, which leads to the chat, or as JSON, which is answered in JSON."""
    its = services(request)
    as_json = request.headers.get("content-type", "").split(";")[0].strip().lower() == "application/json"
    fields = await fields_of(request) if as_json else Fields(_form(await request.body()))
    name, token, code = (fields.text(part, 200, default="") for part in ("name", "token", "code"))

    def refuse(status: int, message: str) -> Response:
        return JSONResponse({"error": message}, status) if as_json else _page(request, message, status)

    if its.access.asks_for_token and not its.access.admits(token):
        return refuse(403, "the token is wrong: whoever serves this page has it")
    try:
        person = await run_in_threadpool(_claim, its.chat.store, its.access, name, request.state.person, code)
    except ValueError as error:
        return refuse(400, str(error))
    except PermissionError as error:
        return refuse(403, str(error))
    cookie = its.access.cookie(person)
    response: Response
    if as_json:
        response = JSONResponse(
            {"person": person.name, "code": its.access.code(person), "csrf": its.access.csrf(cookie)}
        )
    else:
        response = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    response.set_cookie(its.cookie, cookie, DAYS * 86400, secure=secure, httponly=True, samesite="strict")
    return response


async def logout(request: Request) -> Response:
    """POST /api/logout: forget in this browser who it is."""
    response = JSONResponse({})
    response.delete_cookie(services(request).cookie, httponly=True, samesite="strict")
    return response


def _claim(store: FeedbackStore, access: Access, name: str, now: str | None, code: str) -> Person:
    """Who gives this name: somebody new, or the person that they have shown to be.

    Args:
        now: the pseudonym by which they are logged in already. code: what they give as theirs.

    Raises:
        ValueError: nobody can be called so. PermissionError: somebody else is.
    """
    with CLAIMING:
        people = {other.name: other for other in store.people()}
        known = known_as(name, people)
        if known is None:
            new = pseudonym(name)
            known = known_as(new, people)  # one that was made up may be taken, too
            if known is None:
                return store.person(new)
        if known != now and not access.is_code(people[known], code):
            raise PermissionError(
                f"somebody is called {known} already: if that is you, give your code, else choose another"
            )
        return people[known]


def _page(request: Request, error: str, status: int) -> Response:
    html = login_page(services(request).access.asks_for_token, error)
    return Response(html, status, media_type="text/html; charset=utf-8")


def _form(body: bytes) -> dict[str, str]:
    try:
        return {
            name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace"), max_num_fields=10).items()
        }
    except ValueError:
        return {}


ROUTES = [
    Route("/login", show),
    Route("/login", login, methods=["POST"]),
    Route("/api/logout", logout, methods=["POST"]),
]
