"""A turn of the agent that is wanted, while it is written, and when it is complete."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dyngen_agents.feedback.page.served_model import TurnSettings
from dyngen_agents.policy.feedback_memory import FeedbackMemory


@dataclass(frozen=True)
class Written:
    """A turn of the agent, with what there is to know of how it was sampled.

    Attributes:
        text: what it says. tokens, logprobs: each token that was sampled and its log-prob, in nats, under `settings`.
        finish: "stop" by the agent's own end token or a stop string, "length", "context", or "stopped" by the user.
        seed: of the sampling. version: of the weights that wrote it. memory: what they attended to beside the context.
        first_token, seconds: how long the first token and the whole turn took, from when they were asked for.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: str
    settings: TurnSettings
    seed: int
    version: str
    memory: FeedbackMemory | None
    first_token: float
    seconds: float


@dataclass(frozen=True)
class Request:
    """What somebody has asked for. Sent twice, it is done once.

    Attributes:
        key: its name. after: the turn that is to be answered. wish: what should be different from the last answer.
    """

    key: str
    after: int
    wish: str = ""


@dataclass(frozen=True)
class Job:
    """A turn that is wanted.

    Attributes:
        seat: turns of the same seat share a cache: name the dialogue here, and which of its answers side by side it is.
        person: who asks; nobody may have too many turns waiting.
        context: the tokens before the turn (`context.Frame`).
        keep: called with the turn when it is complete, before anybody is told so: it stores it. What it returns, in
            values that JSON can hold, is told to those who read along.
        request: what it answers; None if nobody will ask for it again.
    """

    seat: tuple[Any, ...]
    person: str
    context: list[int]
    settings: TurnSettings
    keep: Callable[[Written], dict[str, Any]]
    request: Request | None = None


class Writing:
    """A turn while it is written. Others may read `pieces` and `outcome` from their own threads.

    Attributes:
        key: its name, which nobody can guess.
        pieces: its text so far, in the pieces in which it came.
        outcome: None until it is complete, then what `Job.keep` returned, or {"error": a sentence}.
    """

    def __init__(self, job: Job):
        self.job, self.key, self.asked = job, secrets.token_urlsafe(12), time.monotonic()
        self.pieces: list[str] = []
        self.outcome: dict[str, Any] | None = None
        self.stopped = False
        self._watchers: list[Callable[[], None]] = []

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called, from another thread, after each change; returns what ends that."""
        self._watchers.append(wake)
        return lambda: self._watchers.remove(wake)

    def stop(self) -> None:
        """Let it end after the token that is being written; what there is by then is the turn."""
        self.stopped = True

    def changed(self) -> None:
        for wake in list(self._watchers):
            wake()
