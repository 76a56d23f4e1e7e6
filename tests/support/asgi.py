"""One request to an ASGI application, without a network."""

from __future__ import annotations

import asyncio


def ask(app, method, path, headers, body=b""):
    """The answer to one request from this machine: status, headers, body."""
    sent = []
    rest = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        return rest.pop(0) if rest else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    raw = [(name.encode(), value.encode("utf-8", "surrogatepass")) for name, value in headers.items()]
    scope = dict(
        type="http", method=method, path=path, raw_path=path.encode(), query_string=b"", headers=raw, scheme="http",
        client=("127.0.0.1", 1), server=("127.0.0.1", 8000), http_version="1.1", root_path="",
        asgi={"version": "3.0", "spec_version": "2.4"},
    )  # fmt: skip
    asyncio.run(app(scope, receive, send))
    start, *bodies = sent
    answer = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], answer, b"".join(message.get("body", b"") for message in bodies)
