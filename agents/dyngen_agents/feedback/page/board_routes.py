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


def board(request: Request) -> Response:
    """GET /api/board: numbers over all people, without who they are or what they said."""
    its = services(request)
    learner = its.chat.learner
    return JSONResponse(its.board.numbers() | {"learner": None if learner is None else _learned(learner)})


async def undo(request: Request) -> Response:
    """POST /api/versions/undo: take back the latest thing that was learned from who asks."""
    return await _taken_back(request, "undo")


async def reset(request: Request) -> Response:
    """POST /api/versions/reset: the model as it was before all learning, if nobody else has taught it."""
    return await _taken_back(request, "reset")


async def _taken_back(request: Request, how: str) -> Response:
    await fields_of(request)
    learner = services(request).chat.learner
    if learner is None:
        wrong("this model does not learn: begin with dyngen serve --learn", 409)
    await run_in_threadpool(getattr(learner, how), request.state.person)
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
