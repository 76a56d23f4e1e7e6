"""What every request passes before the page sees it: host, size, session, origin, CSRF and rate; and safe headers."""

from __future__ import annotations

import hmac
import json
import math
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dyngen_agents.feedback.page.access import Access
from dyngen_agents.feedback.page.limits import Rate

MAX_BODY = 256 * 1024  # bytes of a request
MAX_SOUND = 1024 * 1024  # of a recording: half a minute
SPEECH = "/api/speech"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_PATHS = ("/login", "/login.css")  # all that is served to those who are not logged in
READING = ("GET", "HEAD")

# The page loads from its own server alone, runs no script and no style that stands in HTML, and cannot be framed by
# others. Trusted types make the browser refuse text as HTML: it is an error, wherever the text comes from.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware. What passes has `scope["state"]["person"]`, the pseudonym, or None on the way to the login.

    Args:
        app: what is guarded.
        access: signs and checks cookies. cookie: its name.
        hosts: names under which the server may be asked; None: any. A page on loopback must refuse others, or a site
            that makes its own name point here could read it (DNS rebinding).
        known: whether there is a person of that id and pseudonym: none who was forgotten, whatever the cookie says.
        login_page: what somebody sees who is not logged in.
        rate: of each person's requests. login_rate: of each address's attempts to log in.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        cookie: str,
        hosts: Iterable[str] | None,
        known: Callable[[int, str], bool],
        login_page: bytes,
        rate: Rate,
        login_rate: Rate,
    ):
        self.app, self.access, self.cookie, self.login_page = app, access, cookie, login_page
        self.known = known
        self.hosts = None if hosts is None else frozenset(hosts)
        self.rate, self.login_rate = rate, login_rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        size, most = 0, _most(scope["path"])

        async def receive_bounded() -> Message:  # of bodies that do not say how long they are
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise HTTPException(413, _too_large(most))
            return message

        cookie = _cookie(Headers(scope=scope).get("cookie", ""), self.cookie)
        refusal = self._refusal(scope, cookie, await self._person_of(cookie))
        await (refusal or self.app)(scope, receive_bounded, send_safely)

    async def _person_of(self, cookie: str) -> str | None:
        """The pseudonym of who sends a cookie; None if the cookie does not count."""
        who = self.access.person_of(cookie) if cookie else None
        if who is None:
            return None
        is_known: bool = await run_in_threadpool(self.known, *who)
        return who[1] if is_known else None

    def _refusal(self, scope: Scope, cookie: str, person: str | None) -> Response | None:
        """What the request gets instead of the page; None if it may pass."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        host = headers.get("host", "")
        if self.hosts is not None and _name_of(host) not in self.hosts:
            return refused(421, f"this server is not {_shown(host)}: open it as http://localhost")
        scope.setdefault("state", {})["person"] = person
        scope["state"]["csrf"] = self.access.csrf(cookie) if person else None
        if person is None and path not in OPEN_PATHS:
            if method in READING and "text/html" in headers.get("accept", ""):
                return Response(self.login_page, status_code=401, media_type="text/html; charset=utf-8")
            return refused(401, "nobody is logged in: POST your pseudonym to /login first")
        if method in READING:
            return self._too_fast(person, scope)
        if foreign := _foreign(headers, host):
            return refused(403, foreign)
        if path not in OPEN_PATHS:
            given = headers.get("x-csrf-token", "").encode("latin-1", "replace")
            if not hmac.compare_digest(given, scope["state"]["csrf"].encode()):
                return refused(403, "the header X-CSRF-Token is missing or wrong: GET /api/me says what it is")
        if _length(headers) > (most := _most(path)):
            return refused(413, _too_large(most))
        return self._too_fast(person, scope)

    def _too_fast(self, person: str | None, scope: Scope) -> Response | None:
        address = (scope.get("client") or ("?",))[0]
        attempt = scope["path"] == "/login" and scope["method"] not in READING
        seconds = (
            self.login_rate.wait(address) if attempt else self.rate.wait(f"{address if person is None else person}")
        )
        if not seconds:
            return None
        response = refused(429, f"too many requests: wait {seconds:.1f} seconds")
        response.headers["Retry-After"] = str(math.ceil(seconds))
        return response


def refused(status: int, message: str) -> Response:
    """An answer that says in one sentence what was wrong and what to do."""
    return JSONResponse({"error": message}, status_code=status)


def _most(path: str) -> int:
    """How many bytes a request may have."""
    return MAX_SOUND if path == SPEECH else MAX_BODY


def _too_large(most: int) -> str:
    return f"a request may have {most} bytes here: say less, or in several messages"


def _foreign(headers: Headers, host: str) -> str:
    """Why a request that changes something seems to come from another site; "" if it does not."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return f"a request from {_shown(origin)} may change nothing here"
    if site not in (None, "same-origin", "none"):
        return "a request from another site may change nothing here"
    return ""


def _name_of(host: str) -> str:
    """The name in a Host header, without the port and the brackets of IPv6."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cookie(header: str, name: str) -> str:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def _shown(text: str) -> str:
    return json.dumps(text[:80])
