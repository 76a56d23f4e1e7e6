"""Runs the page: a socket, uvicorn, and what has to end in order when it is stopped."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from dyngen_agents.feedback.page.access import Access
from dyngen_agents.feedback.page.app import make_app
from dyngen_agents.feedback.page.chat import Chat
from dyngen_agents.feedback.page.guard import LOOPBACK
from dyngen_env.users.speech.recogniser import Recogniser

CONNECTIONS = 256  # at a time; more get a 503


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach the address."""
    try:
        return host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def token_for(host: str, token: str | None, behind_proxy: bool = False) -> str | None:
    """The token that people must know: the one that was given; a new one where the address is open to others.

    Args:
        behind_proxy: others come through a proxy on this machine, whatever the address.

    Raises:
        ValueError: one so short that it can be guessed.
    """
    if token is None:
        return None if is_loopback(host) and not behind_proxy else secrets.token_urlsafe(18)
    if len(token) < 8:
        raise ValueError(f"the token has {len(token)} characters, expected at least 8: others could guess it")
    return token


def bound(host: str, port: int) -> socket.socket:
    """A socket that has this address, of which nobody hears yet. Port 0 is any that is free.

    Raises:
        OSError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only if named so
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        raise OSError(
            f"{host}:{port} cannot be served ({error}): choose another --port, or --port 0 for a free one"
        ) from error
    return sock


def serve(
    chat: Chat,
    secret: bytes,
    sock: socket.socket,
    *,
    host: str,
    token: str | None,
    ready: Callable[[str], None],
    behind_proxy: bool = False,
    recogniser: Recogniser | None = None,
) -> None:
    """Serve until the process is interrupted. Answers that are half written then are kept as they are.

    Args:
        secret: that signs cookies (`access.secret_of`). sock: from `bound`, with this host.
        token: see `token_for`. ready: called with the address once it can be asked.
        behind_proxy: believe what a proxy on this machine says of who asks, and whether over TLS: cookies are for TLS
            alone then.
        recogniser: see `make_app`.
    """
    port = sock.getsockname()[1]
    hosts = {*LOOPBACK, host} if token is None else None
    app = make_app(chat, Access(secret, token), cookie=f"dyngen-{port}", hosts=hosts, recogniser=recogniser)
    shown = f"[{host}]" if ":" in host else host
    _Server(config_of(app, behind_proxy), lambda: ready(f"http://{shown}:{port}"), chat.close).run([sock])


def config_of(app: Starlette, behind_proxy: bool) -> uvicorn.Config:
    """How uvicorn is to serve the page."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # what people do is nobody's business
        proxy_headers=behind_proxy,  # otherwise anybody could say that they come from elsewhere
        forwarded_allow_ips=["127.0.0.1", "::1"],
        server_header=False,
        lifespan="off",
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=3,
    )


class _Server(uvicorn.Server):
    """uvicorn that says when it can be asked, and ends what is being written before it waits for those who read it."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ended: Callable[[], None]):
        super().__init__(config)
        self._ready, self._ended = ready, ended

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.to_thread(self._ended)
        await super().shutdown(sockets)
