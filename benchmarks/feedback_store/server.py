"""A server that writes ratings to a store, and a supervisor that starts it anew whenever it is killed.

    python -m benchmarks.feedback_store.server FILE [--generate MODEL]

The supervisor owns the listening socket and forks the server, which has then nothing to import: it is back within
milliseconds, and those who knock meanwhile wait. It prints the port, and the process id of each server; it ends both
when its standard input is closed.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import threading
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dyngen_agents.feedback.store import FeedbackStore, StoreError


def application(store: FeedbackStore) -> Starlette:
    """What raters need: a task, an answer to it, a rating of any turn."""

    async def lease(request: Request) -> Response:
        asked = await request.json()
        person = await run_in_threadpool(store.person, asked["person"])
        found = await run_in_threadpool(store.lease, person, asked["seconds"])
        return JSONResponse(None if found is None else {"lease": found.id, "task": found.task.id})

    async def submit(request: Request) -> Response:
        asked = await request.json()
        given = await run_in_threadpool(store.submit, asked["lease"], asked["value"], asked["key"])
        return JSONResponse({"feedback": given.id})

    async def rate(request: Request) -> Response:
        asked = await request.json()
        person = await run_in_threadpool(store.person, asked["person"])
        given = await run_in_threadpool(
            store.add_feedback, "rating", person, asked["turn"], asked["value"], asked["key"]
        )
        return JSONResponse({"feedback": given.id})

    async def refused(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status_code=507 if isinstance(error, StoreError) else 400)

    routes = [Route(f"/{handler.__name__}", handler, methods=["POST"]) for handler in (lease, submit, rate)]
    return Starlette(routes=routes, exception_handlers={ValueError: refused, StoreError: refused})


def serve(path: str, listening: socket.socket, model: str | None) -> None:
    """Serve until killed."""
    if model is not None:
        threading.Thread(target=_generate, args=[model, path], daemon=True).start()
    config = uvicorn.Config(application(FeedbackStore(path)), log_level="warning", lifespan="off")
    uvicorn.Server(config).run(sockets=[listening])


def _generate(name: str, path: str) -> None:
    """Write texts for ever, as a server that talks does."""
    import torch  # here: the other parts do without

    from dyngen_env.lm import generate, load_model, load_tokenizer
    from dyngen_env.text import adapted

    torch.set_num_threads(1)
    model, tokenizer = load_model(name), adapted(load_tokenizer(name))
    generate(model, tokenizer, ["The film"], max_new_tokens=2)
    Path(f"{path}.generating").touch()
    while True:
        generate(model, tokenizer, ["The film"], max_new_tokens=64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--generate", metavar="MODEL", help="beside serving")
    args = parser.parse_args()
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listening.getsockname()[1], flush=True)
    running: list[int] = []

    def end_with_input() -> None:
        os.read(0, 1)
        os.kill(running[-1], signal.SIGKILL)
        os._exit(0)

    while True:
        child = os.fork()
        if child == 0:
            serve(args.file, listening, args.generate)
            os._exit(0)
        running.append(child)
        if len(running) == 1:
            threading.Thread(target=end_with_input, daemon=True).start()
        print(child, flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
