"""What the routes of the page work with, and who asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dyngen_agents.feedback.page.access import Access
from dyngen_agents.feedback.page.board import Board
from dyngen_agents.feedback.page.chat import Chat
from dyngen_agents.feedback.page.fields import wrong
from dyngen_agents.feedback.store import Person
from dyngen_env.users.speech.recogniser import Recogniser

if TYPE_CHECKING:
    from starlette.requests import Request


@dataclass(frozen=True)
class Services:
    """Attributes:
    chat: the dialogues, and through it store, model, writer and learner.
    access: who is who. cookie: the name of the cookie that says so.
    board: numbers over all feedback.
    recogniser: writes down what people say; None if there is none.
    """

    chat: Chat
    access: Access
    cookie: str
    board: Board
    recogniser: Recogniser | None = None

    def person(self, request: Request) -> Person:
        """Who sent a request that has passed the guard. Raises HTTPException if they were forgotten meanwhile."""
        found = self.chat.store.people(request.state.person)
        return found[0] if found else wrong("you were forgotten: log in anew", 401)


def services(request: Request) -> Services:
    """What the request's application works with."""
    return request.app.state.services
