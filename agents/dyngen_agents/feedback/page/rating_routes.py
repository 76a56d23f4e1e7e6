"""HTTP for the rating view: the next text that waits for this person, their answer to it, or that they leave it."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dyngen_agents.feedback.page.chat_routes import value_of
from dyngen_agents.feedback.page.fields import fields_of
from dyngen_agents.feedback.page.services import Services, services
from dyngen_agents.feedback.people import SOURCE
from dyngen_agents.feedback.store import Lease, NotInStore, Person

LEASE = 600.0  # seconds that a text is kept for somebody


def task(request: Request) -> Response:
    """GET /api/task: the next text, or texts, for this person, and how many wait for them; "task" is null if none."""
    its = services(request)
    person = its.person(request)
    lease = its.chat.store.lease(person, LEASE)
    waiting = its.chat.store.count_waiting(person)
    return JSONResponse({"task": None if lease is None else _shown(its, lease), "waiting": waiting})


async def submit(request: Request) -> Response:
    """POST /api/task/{lease} {value, key}: the answer; for a preference the better turn, for a ranking all of them."""
    its, fields = services(request), await fields_of(request)
    key, value, seconds = fields.key(), value_of(fields), fields.number("seconds", 0, 1e6, 0)
    number = request.path_params["lease"]

    def submitted() -> Any:
        _own(its, its.person(request), number)
        return its.chat.store.submit(number, value, key, {"seconds": seconds} if seconds else None)

    return JSONResponse({"id": (await run_in_threadpool(submitted)).id}, 201)


async def skip(request: Request) -> Response:
    """POST /api/task/{lease}/skip: leave it to others."""
    its, number = services(request), request.path_params["lease"]
    await fields_of(request)

    def skipped() -> None:
        _own(its, its.person(request), number)
        its.chat.store.skip(number)

    await run_in_threadpool(skipped)
    return JSONResponse({})


def _own(its: Services, person: Person, number: int) -> Lease:
    """A lease of a person's own. Raises NotInStore, in the same words whether it is somebody else's or nobody's."""
    lease: Lease | None
    try:
        lease = its.chat.store.find_lease(number)
    except NotInStore:
        lease = None
    if lease is None or lease.person != person:
        raise NotInStore(f"there is no task {number} among yours: ask for the next one")
    return lease


def _shown(its: Services, lease: Lease) -> dict[str, Any]:
    """A task as the page shows it: what was said before, and the texts. Who wrote them is not told. "reply" says that
    an environment waits for what the user in it answers."""
    store = its.chat.store
    turns = [store.turn(turn) for turn in lease.task.turns]
    before = store.history(turns[0])
    opening = store.dialogue(turns[0].dialogue).opening
    said = [{"role": turn.role, "text": turn.text} for turn in before]
    return {
        "lease": lease.id,
        "kind": lease.task.kind,
        "reply": lease.task.kind == "words" and lease.task.source == SOURCE,
        "before": [{"role": "prompt", "text": opening}, *said] if opening else said,
        "turns": [{"id": turn.id, "text": turn.text} for turn in turns],
    }


ROUTES = [
    Route("/api/task", task),
    Route("/api/task/{lease:int}", submit, methods=["POST"]),
    Route("/api/task/{lease:int}/skip", skip, methods=["POST"]),
]
