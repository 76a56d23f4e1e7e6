"""An OpenAI-compatible endpoint for chat completions, asked until it answers or has failed too often.

Only the standard library: a judge takes a second a text, so nothing is gained by a faster client.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

AGAIN = (408, 425, 429)  # and every 5xx: the same request may succeed later
LONGEST_WAIT = 60.0  # seconds, whatever the server asks for

Message = Mapping[str, str]

log = logging.getLogger(__name__)


class EndpointFailed(ConnectionError):
    """The endpoint gave no chat completion; the message names it and quotes what it said."""


@dataclass(frozen=True)
class Endpoint:
    """A server's address and how patiently it is asked.

    Args:
        url: up to and with the version, such as "http://127.0.0.1:8000/v1"; an address without a path gets "/v1".
        model: which of its models answers; None is the only one that it serves.
        options: more entries of the request, beside `model` and `messages`; an entry that is None is left out.
        key_variable: the environment variable that holds the API key, if the server wants one.
        timeout: seconds to wait for an answer.
        retries: how often a request is made again after a timeout, a lost connection, or a status of 408, 425, 429
            or 5xx.
        wait: seconds before the first of these; each next one waits twice as long, or as `Retry-After` says.

    Raises:
        ValueError: the url is none of http or https.
    """

    url: str
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    key_variable: str = "DYNGEN_JUDGE_KEY"
    timeout: float = 60.0
    retries: int = 5
    wait: float = 1.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"url {self.url!r}: expected an address such as 'http://127.0.0.1:8000/v1'")
        if self.retries < 0 or self.timeout <= 0 or self.wait < 0:
            raise ValueError(
                f"retries={self.retries}, timeout={self.timeout}, wait={self.wait}: expected 0 or more, above 0, and 0 "
                "or more"
            )
        base = self.url.rstrip("/").removesuffix("/chat/completions")
        object.__setattr__(self, "url", base if parts.path.strip("/") else f"{base}/v1")

    @cached_property
    def served(self) -> str:
        """The model that answers.

        Raises:
            EndpointFailed: as `ask`.
            ValueError: no model was named, and the server has none or several.
        """
        if self.model is not None:
            return self.model
        listed = self._json("/models", None)
        try:
            names = [str(entry["id"]) for entry in listed["data"]]
        except (KeyError, TypeError) as error:
            raise EndpointFailed(f"{self.url}/models said {_short(listed)}: give the judge model=...") from error
        if len(names) != 1:
            raise ValueError(f"{self.url} serves {', '.join(names[:5]) or 'no model'}: give the judge model=...")
        return names[0]

    def request(self, messages: Sequence[Message]) -> dict[str, Any]:
        """What is sent for some messages."""
        body = {"model": self.served, "messages": list(messages), **self.options}
        return {key: value for key, value in body.items() if value is not None}

    def ask(self, messages: Sequence[Message]) -> str:
        """What the model answers to some messages.

        Raises:
            EndpointFailed: no answer after all retries, a status that no retry can help, or no chat completion.
        """
        answer = self._json("/chat/completions", self.request(messages))
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise EndpointFailed(f"{self.url} gave no chat completion but {_short(answer)}")
        return text

    def _json(self, path: str, body: dict[str, Any] | None) -> Any:
        """The JSON that the endpoint answers to a GET, or to a POST of `body`."""
        attempt = 1
        while True:
            try:
                return self._once(path, body)
            except _Failure as failure:
                if not failure.may_pass or attempt > self.retries:
                    times = "once" if attempt == 1 else f"{attempt} times"
                    raise EndpointFailed(
                        f"{self.url}{path} was asked {times} and said {failure}"
                    ) from failure.__cause__
                wait = self.wait * 2 ** (attempt - 1) if failure.wait is None else failure.wait
                wait = min(wait, LONGEST_WAIT)
                log.warning("%s%s said %s; it is asked again in %g s", self.url, path, failure, wait)
                time.sleep(wait)
                attempt += 1

    def _once(self, path: str, body: dict[str, Any] | None) -> Any:
        key = os.environ.get(self.key_variable)
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                said = response.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            may_pass = error.code in AGAIN or error.code >= 500
            raise _Failure(f"{_short(_body_of(error))}, status {error.code}", may_pass, _asked_for(error)) from error
        except (OSError, http.client.HTTPException) as error:  # refused, lost, too slow
            raise _Failure(str(error) or type(error).__name__, True) from error
        try:
            return json.loads(said)
        except ValueError as error:
            raise _Failure(f"{_short(said)}, which is no JSON", False) from error


class _Failure(Exception):
    """One request failed. It `may_pass` if the same one may succeed later, `wait` seconds later if the server says."""

    def __init__(self, said: str, may_pass: bool, wait: float | None = None):
        super().__init__(said)
        self.may_pass, self.wait = may_pass, wait


def _body_of(failure: urllib.error.HTTPError) -> str:
    try:
        return failure.read().decode("utf-8", "replace")
    except OSError:
        return str(failure.reason)


def _asked_for(failure: urllib.error.HTTPError) -> float | None:
    """The seconds of a `Retry-After`; where it holds a date, or is not there, None."""
    try:
        return max(0.0, float(failure.headers.get("Retry-After", "")))
    except ValueError:
        return None


def _short(said: Any) -> str:
    text = " ".join((said if isinstance(said, str) else json.dumps(said)).split())
    return repr(text if len(text) <= 300 else text[:300] + "...")
