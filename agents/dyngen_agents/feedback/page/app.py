"""The application: pages, their files, and the routes behind them, all inside the guard."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dyngen_agents.feedback.live.log import NotTheirs
from dyngen_agents.feedback.page import board_routes, chat_routes, login_routes, rating_routes, speech_routes, why
from dyngen_agents.feedback.page.access import Access
from dyngen_agents.feedback.page.board import Board
from dyngen_agents.feedback.page.chat import Chat, Moved
from dyngen_agents.feedback.page.guard import Guard, refused
from dyngen_agents.feedback.page.limits import Rate
from dyngen_agents.feedback.page.login_routes import login_page
from dyngen_agents.feedback.page.services import Services
from dyngen_agents.feedback.page.writer import TooBusy
from dyngen_agents.feedback.store import FeedbackStore, NotInStore, StoreError
from dyngen_env.users.speech.recogniser import Recogniser

log = logging.getLogger(__name__)

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
PAGES = {"/": "chat.html", "/rate": "rate.html", "/board": "board.html", "/login.css": "login.css"}
ASSETS = ("style.css", "theme.js", "common.js", "chat.js", "spans.js", "speech.js", "turn.js", "rate.js", "board.js")
REQUESTS_PER_SECOND, BURST = 100.0, 300  # of one person; several raters at a time take a few
LOGINS_PER_SECOND, LOGIN_BURST = 0.5, 20  # of one address


def make_app(
    chat: Chat,
    access: Access,
    *,
    cookie: str = "dyngen",
    hosts: Iterable[str] | None = None,
    rate: Rate | None = None,
    login_rate: Rate | None = None,
    recogniser: Recogniser | None = None,
) -> Starlette:
    """The page as an ASGI application.

    Args:
        chat: the dialogues. access: who is who.
        cookie: its name; servers on one machine need different ones, as cookies do not tell ports apart.
        hosts: names under which the server may be asked; None: any.
        rate, login_rate: how much one person may ask for, and how often one address may try to log in.
        recogniser: writes down what people say into the microphone; None: nothing does.
    """

    fixed = PAGES | {f"/static/{name}": name for name in ASSETS}
    routes = [Route(path, _file(name)) for path, name in fixed.items()]
    for module in (login_routes, chat_routes, speech_routes, rating_routes, board_routes, why):
        routes += module.ROUTES
    guard = Middleware(
        Guard,
        access=access,
        cookie=cookie,
        hosts=hosts,
        known=partial(_known, chat.store),
        login_page=login_page(access.asks_for_token),
        rate=rate or Rate(REQUESTS_PER_SECOND, BURST),
        login_rate=login_rate or Rate(LOGINS_PER_SECOND, LOGIN_BURST),
    )
    app = Starlette(
        routes=routes,
        middleware=[guard],
        exception_handlers={
            HTTPException: _refused,
            NotInStore: _not_there,
            Moved: _moved,
            NotTheirs: _not_theirs,
            TooBusy: _too_busy,
            ValueError: _wrong,
            StoreError: _not_stored,
            Exception: _failed,
        },
    )
    app.state.services = Services(chat, access, cookie, Board(chat.store), recogniser)
    return app


def _known(store: FeedbackStore, number: int, name: str) -> bool:
    """Whether there is a person of that id and pseudonym in a store."""
    return [person.id for person in store.people(name)] == [number]


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that serves one file of the package, read once."""
    content = files(__package__).joinpath("static", name).read_bytes()
    kind = TYPES[name.rpartition(".")[2]] + "; charset=utf-8"

    async def serve(_: Request) -> Response:
        return Response(content, media_type=kind)

    return serve


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _not_there(_: Request, error: Exception) -> Response:
    return refused(404, str(error))


def _moved(_: Request, error: Exception) -> Response:
    return refused(409, str(error))


def _not_theirs(_: Request, error: Exception) -> Response:
    return refused(403, str(error))


def _too_busy(_: Request, error: Exception) -> Response:
    return refused(503, str(error))


def _wrong(_: Request, error: Exception) -> Response:
    return refused(400, str(error))


def _not_stored(_: Request, error: Exception) -> Response:
    log.error("%s", error)
    return refused(507, str(error))


def _failed(request: Request, error: Exception) -> Response:
    return refused(500, "the server has made a mistake: its log says more; what was stored before is whole")
