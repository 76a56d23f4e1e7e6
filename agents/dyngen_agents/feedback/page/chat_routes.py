"""HTTP for the chat: JSON in and out, and answers as server-sent events while they are written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dyngen_agents.feedback.page.fields import Fields, fields_of, wrong
from dyngen_agents.feedback.page.served_model import ServedModel, TurnSettings
from dyngen_agents.feedback.page.services import services
from dyngen_agents.feedback.page.transcript import shown
from dyngen_agents.feedback.page.writing import Writing
from dyngen_env.lm.distribution import SamplingConfig

HEARTBEAT = 15.0  # seconds after which a silent stream says that it is still there
MOST_NEW_TOKENS = 1024  # of a turn


def me(request: Request) -> Response:
    """GET /api/me: who asks, what is served, and what a request that changes something must bring."""
    its = services(request)
    model, person = its.chat.model, its.person(request)
    return JSONResponse(
        {
            "person": person.name,
            "code": its.access.code(person),
            "csrf": request.state.csrf,
            "model": model.name,
            "learns": its.chat.learner is not None,
            "hears": its.recogniser is not None,
            "settings": model.settings.record() | {"most_new_tokens": most_new_tokens(model)},
        }
    )


def dialogues(request: Request) -> Response:
    """GET /api/dialogues: the person's own, the newest first."""
    its = services(request)
    return JSONResponse({"dialogues": its.chat.dialogues(its.person(request))})


async def begin(request: Request) -> Response:
    """POST /api/dialogues {key}: a new dialogue."""
    its, fields = services(request), await fields_of(request)
    key = fields.key()
    made = await run_in_threadpool(lambda: its.chat.begin(its.person(request), key))
    return JSONResponse({"id": made.id}, 201)


def dialogue(request: Request) -> Response:
    """GET /api/dialogues/{dialogue}: its turns, and the keys of answers that are being written."""
    its = services(request)
    return JSONResponse(its.chat.view(its.person(request), request.path_params["dialogue"]))


async def message(request: Request) -> Response:
    """POST /api/dialogues/{dialogue}/messages {text, after, settings, two, key}: say something."""
    its, fields = services(request), await fields_of(request)
    text, key, two = fields.text("text"), fields.key(), fields.flag("two")
    after = None if fields.values.get("after") is None else fields.whole("after", 1, 2**63 - 1)
    settings = settings_from(fields.fields("settings"), its.chat.model)
    number = request.path_params["dialogue"]
    turn, writing = await run_in_threadpool(
        lambda: its.chat.message(its.person(request), number, text, after, settings, two, key)
    )
    return JSONResponse({"turn": shown(turn), "writing": [one.key for one in writing]}, 201)


async def answers(request: Request) -> Response:
    """POST /api/dialogues/{dialogue}/answers {after, wish, settings, two, key}: have a message answered, or again."""
    its, fields = services(request), await fields_of(request)
    after, wish, key = fields.whole("after", 1, 2**63 - 1), fields.text("wish", default=""), fields.key()
    settings, two = settings_from(fields.fields("settings"), its.chat.model), fields.flag("two")
    number = request.path_params["dialogue"]
    writing = await run_in_threadpool(
        lambda: its.chat.answer(its.person(request), number, after, wish.strip(), settings, two, key)
    )
    return JSONResponse({"writing": [one.key for one in writing]}, 201)


async def feedback(request: Request) -> Response:
    """POST /api/feedback {kind, turns, value, key}: what somebody thinks of turns of their own dialogues."""
    its, fields = services(request), await fields_of(request)
    kind, turns, value, key = fields.text("kind", 20), fields.ids("turns"), value_of(fields), fields.key()
    said = await run_in_threadpool(lambda: its.chat.feedback(its.person(request), kind, turns, value, key))
    return JSONResponse({"id": said.id}, 201)


def read(request: Request) -> Response:
    """GET /api/writing/{key}: the answer as server-sent events, from its beginning, or from where the browser was.

    A "piece" is a JSON string; its id is the number of pieces up to and with it. The "end" has the stored turn's number
    and its text, which counts: where a stop string ended the turn, the pieces may have said more. Or it has an "error".
    """
    writing = _own(request)
    last = request.headers.get("last-event-id", "0")
    seen = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0
    headers = {"X-Accel-Buffering": "no"}  # proxies pass each piece on at once
    return StreamingResponse(_events(request, writing, seen), media_type="text/event-stream", headers=headers)


async def stop(request: Request) -> Response:
    """POST /api/writing/{key}/stop: let an answer end here."""
    _own(request).stop()
    return JSONResponse({})


async def _events(request: Request, writing: Writing, seen: int) -> AsyncIterator[str]:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:  # on the writer's thread, which may outlive the loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    unwatch = writing.watch(wake)
    try:
        yield "retry: 1000\n\n"
        while True:
            changed.clear()
            outcome, pieces = writing.outcome, writing.pieces[seen:]  # the outcome first: it comes after all pieces
            if pieces:
                seen += len(pieces)
                yield f"event: piece\nid: {seen}\ndata: {json.dumps(''.join(pieces))}\n\n"
            if outcome is not None:
                yield f"event: end\ndata: {json.dumps(outcome)}\n\n"
                return
            try:
                await asyncio.wait_for(changed.wait(), HEARTBEAT)
            except TimeoutError:
                yield ": still here\n\n"
            if await request.is_disconnected():
                return
    finally:
        unwatch()


def _own(request: Request) -> Writing:
    writing = services(request).chat.writer.writing(request.path_params["key"])
    if writing is None or writing.job.person != request.state.person:
        wrong("there is no such answer, or it was complete long ago: load the dialogue", 404)
    return writing


def settings_from(fields: Fields, model: ServedModel) -> TurnSettings:
    """How a turn is to be sampled, as somebody asks for it. Raises HTTPException 400, or ValueError."""
    usual = model.settings
    return TurnSettings(
        SamplingConfig(
            fields.number("temperature", 0, 2, usual.sampling.temperature),
            fields.whole("top_k", 0, 1000, usual.sampling.top_k),
            fields.number("top_p", 0.01, 1, usual.sampling.top_p),
        ),
        tuple(word.strip() for word in fields.texts("banned") if word.strip()),
        fields.whole("max_new_tokens", 1, most_new_tokens(model), usual.max_new_tokens),
    )


def most_new_tokens(model: ServedModel) -> int:
    """The longest turn that anybody may ask for."""
    return max(model.settings.max_new_tokens, min(MOST_NEW_TOKENS, model.frame.max_context_tokens // 2))


def value_of(fields: Fields) -> Any:
    """The value of some feedback, of bounded size; the store checks that it fits the kind."""
    value = fields.values.get("value")
    return fields.text("value") if isinstance(value, str) else value


ROUTES = [
    Route("/api/me", me),
    Route("/api/dialogues", dialogues),
    Route("/api/dialogues", begin, methods=["POST"]),
    Route("/api/dialogues/{dialogue:int}", dialogue),
    Route("/api/dialogues/{dialogue:int}/messages", message, methods=["POST"]),
    Route("/api/dialogues/{dialogue:int}/answers", answers, methods=["POST"]),
    Route("/api/feedback", feedback, methods=["POST"]),
    Route("/api/writing/{key}", read),
    Route("/api/writing/{key}/stop", stop, methods=["POST"]),
]
