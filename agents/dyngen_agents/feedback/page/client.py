"""A person at the page, played by a program: logs in, talks, reads answers while they are written, rates.

anna = PageClient("http://127.0.0.1:8000")
anna.login("anna")
answer = anna.say("Any good films?")     # anna.say goes on in the same dialogue; anna.begin() starts another
anna.feedback("rating", [answer["turn"]], 3)
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit


class Refused(RuntimeError):
    """The server has refused a request; the message is the server's. `status` is the HTTP status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class PageClient:
    """One person. Not for two threads at once.

    Args:
        url: of the page. timeout: seconds to wait for the server.
    """

    def __init__(self, url: str, timeout: float = 60.0):
        address = urlsplit(url)
        assert address.hostname is not None
        self._connection = HTTPConnection(address.hostname, address.port, timeout=timeout)
        self._cookie = self._csrf = ""
        self.dialogue: int | None = None
        self.last_turn: int | None = None

    def login(self, name: str, token: str = "", code: str = "") -> dict[str, Any]:
        """Become somebody. Returns "person", "code" and "csrf"."""
        response = self._sent("POST", "/login", {"name": name, "token": token, "code": code})
        cookie = response.headers.get("set-cookie", "").split(";")[0]
        answer = _json(response)
        self._cookie, self._csrf = cookie, answer["csrf"]
        return answer

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        return _json(self._sent("GET", path))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What the server answers to JSON."""
        return _json(self._sent("POST", path, body))

    def begin(self) -> int:
        """Begin a new dialogue, in which `say` goes on."""
        self.dialogue, self.last_turn = self.post("/api/dialogues", {"key": secrets.token_hex(8)})["id"], None
        return self.dialogue

    def say(self, text: str, **settings: Any) -> dict[str, Any]:
        """Say something and wait for the answer: "turn", its number; "text", "finish", "version", and "asked".

        Args:
            settings: of the answer, such as temperature, max_new_tokens, banned.

        Raises:
            Refused: also if the answer could not be written.
        """
        if self.dialogue is None:
            self.begin()
        sent = {"text": text, "after": self.last_turn, "settings": settings, "key": secrets.token_hex(8)}
        said = self.post(f"/api/dialogues/{self.dialogue}/messages", sent)
        if not said["writing"]:
            raise Refused(503, "too many answers are being written already")
        *_, answer = self.read(said["writing"][0])
        self.last_turn = answer["turn"]
        return {**answer, "asked": said["turn"]["id"]}

    def again(self, asked: int, wish: str = "", **settings: Any) -> dict[str, Any]:
        """Have the last message, number `asked`, answered again, with a wish if there is one. As `say`."""
        sent = {"after": asked, "wish": wish, "settings": settings, "key": secrets.token_hex(8)}
        *_, answer = self.read(self.post(f"/api/dialogues/{self.dialogue}/answers", sent)["writing"][0])
        self.last_turn = answer["turn"]
        return {**answer, "asked": asked}

    def read(self, writing: str) -> Iterator[Any]:
        """An answer as it is written: pieces of text, then what the stream ends with. Raises Refused for an error."""
        response = self._sent("GET", f"/api/writing/{writing}")
        if response.status != 200:
            _json(response)
        kind = ""
        for line in response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data = json.loads(value)
                if kind == "end" and "error" in data:
                    response.read()
                    raise Refused(500, data["error"])
                yield data
        response.read()

    def feedback(self, kind: str, turns: list[int], value: Any = None, key: str | None = None) -> int:
        """Say what one thinks of turns; the number of what was stored. A second attempt with a key is the first."""
        said = {"kind": kind, "turns": turns, "value": value, "key": key or secrets.token_hex(8)}
        return self.post("/api/feedback", said)["id"]

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def _sent(self, method: str, path: str, body: dict[str, Any] | None = None) -> HTTPResponse:
        headers = {"Cookie": self._cookie, "X-CSRF-Token": self._csrf, "Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body)
        try:
            self._connection.request(method, path, data, headers)
            return self._connection.getresponse()
        except ConnectionError:  # the server closes connections on which nothing is asked for some seconds
            self._connection.close()
            self._connection.request(method, path, data, headers)  # by its key it is done only once
            return self._connection.getresponse()


def _json(response: HTTPResponse) -> Any:
    answer = json.loads(response.read())
    if response.status >= 400:
        raise Refused(response.status, answer.get("error", ""))
    return answer
