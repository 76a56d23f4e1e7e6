"""HTTP for the board: how ratings went over time, what was learned when, and taking it back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dyngen_agents.feedback.live.learner import LiveLearner
from dyngen_agents.feedback.page.fields import fields_of, wrong
from dyngen_agents.feedback.page.services import services

SHOWN = 500  # ratings that are drawn, the latest


def board(request: Request) -> Response:
    """GET /api/board: numbers over all people, without who they are or what they said."""
    chat = services(request).chat
    feedback = chat.store.feedback(role="agent")
    latest = {
        (said.turns, said.person.id): said for said in feedback if said.kind == "rating"
    }  # of each turn and person
    ratings = [[said.created, said.value] for said in sorted(latest.values(), key=lambda said: said.id)]
    kinds: dict[str, int] = {}
    for said in feedback:
        kinds[said.kind] = kinds.get(said.kind, 0) + 1
    return JSONResponse(
        {
            "people": len({said.person.id for said in feedback}),
            "kinds": kinds,
            "ratings": ratings[-SHOWN:],
            "rated": len(ratings),
            "mean_rating": sum(value for _, value in ratings) / len(ratings) if ratings else None,
            "waiting": len(chat.store.waiting()),
            "learner": None if chat.learner is None else _learned(chat.learner),
        }
    )


async def undo(request: Request) -> Response:
    """POST /api/versions/undo: take back the latest thing learned."""
    return await _taken_back(request, "undo")


async def reset(request: Request) -> Response:
    """POST /api/versions/reset: the model as it was before all learning."""
    return await _taken_back(request, "reset")


async def _taken_back(request: Request, how: str) -> Response:
    await fields_of(request)
    learner = services(request).chat.learner
    if learner is None:
        wrong("this model does not learn: begin with dyngen serve --learn", 409)
    await run_in_threadpool(getattr(learner, how))
    return JSONResponse(_learned(learner))


def _learned(learner: LiveLearner) -> dict[str, Any]:
    versions = [
        asdict(version) | {"turns": len(version.turns), "feedback": len(version.feedback)}
        for version in learner.versions()
    ]
    return {"versions": versions, "current": learner.current.name, "problem": learner.problem}


ROUTES = [
    Route("/api/board", board),
    Route("/api/versions/undo", undo, methods=["POST"]),
    Route("/api/versions/reset", reset, methods=["POST"]),
]
