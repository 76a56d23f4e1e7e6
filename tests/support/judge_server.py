"""A chat-completions server by recipe, in a thread: what it is told to say, and what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = str | tuple[int, Any] | tuple[int, Any, dict[str, str]]  # an answer's text, or a status, a body and headers


@dataclass
class JudgeServer:
    """`answer(completion)` says what comes back for a request about a completion."""

    answer: Callable[[str], Reply]
    models: tuple[str, ...] = ("tiny-judge",)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""

    @property
    def graded(self) -> list[str]:
        """The completions that it was asked about, in order."""
        return [completion_in(request) for request in self.requests]


def completion_in(request: dict[str, Any]) -> str:
    return request["messages"][-1]["content"].split("<completion>\n")[1].removesuffix("\n</completion>")


@contextmanager
def judge_server(answer: Callable[[str], Reply], models: tuple[str, ...] = ("tiny-judge",)) -> Iterator[JudgeServer]:
    served = JudgeServer(answer, models)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/v1/models"
            self.reply(200 if known else 404, {"data": [{"id": name} for name in served.models]})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.requests.append(request)
            served.keys.append(self.headers.get("Authorization"))
            if self.path != "/v1/chat/completions":
                return self.reply(404, {"error": "no such path"})
            reply = served.answer(completion_in(request))
            if isinstance(reply, str):
                reply = 200, {"choices": [{"message": {"role": "assistant", "content": reply}}]}
            self.reply(*reply)

        def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
