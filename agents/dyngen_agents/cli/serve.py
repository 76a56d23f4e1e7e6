"""`dyngen serve MODEL`: a page to talk with a model, and to tell it what one thinks."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from socket import socket
from types import ModuleType
from typing import Literal

from tyro.conf import Positional

from dyngen_agents.cli.hints import mention_idle_gpu
from dyngen_agents.cli.options import Command
from dyngen_agents.feedback.live import LiveConfig, LiveLearner, StoreLedger
from dyngen_agents.feedback.page.access import secret_of
from dyngen_agents.feedback.page.chat import Chat
from dyngen_agents.feedback.page.served_model import ServedModel, serve_model
from dyngen_agents.feedback.page.teaching import lessons
from dyngen_agents.feedback.page.writer import Writer
from dyngen_agents.feedback.store import FeedbackStore
from dyngen_env.users.speech.recogniser import Recogniser, make_recogniser

log = logging.getLogger(__name__)

TOKEN = "DYNGEN_TOKEN"  # a variable, for those who do not want the token in the list of processes


@dataclass(frozen=True, kw_only=True)
class Serve(Command):
    """Let people talk with a model, rate, correct and compare what it says, and keep all of it in one file."""

    model: Positional[str] = "smollm2"
    """A run's folder, its name in runs/, "latest", or any model: "dialogue-lm", a folder, a .gguf file, a hub id."""
    store: str = "feedback.db"
    """The file in which everything is kept; made if it is not there. Beside it FILE.key signs people's cookies."""
    learn: Literal["off", "memory", "weights", "both"] = "off"
    """What learns while people talk: a memory of what each of them said, the model's last layers, or both."""
    host: str = "127.0.0.1"
    """The address. Any but this machine's own asks people for a token."""
    port: int = 8000
    """The port; 0 is one that is free."""
    token: str | None = None
    """What people must know to come in; also read from the variable DYNGEN_TOKEN. By default none is asked for on this
    machine, and elsewhere one is made up and printed."""
    behind_proxy: bool = False
    """A proxy on this machine, such as nginx or Caddy, passes requests on and speaks TLS with browsers. What it says in
    X-Forwarded-For and X-Forwarded-Proto is believed, and people are asked for a token."""
    recogniser: str | None = None
    """The folder of a Whisper model for faster-whisper, which writes down what people say into the microphone; needs
    pip install 'dyngen-env[speech]'. Nothing that is said leaves this machine."""
    temperature: float | None = None
    """Of sampling, unless a person chooses another. By default the run's own, or 0.7."""
    threads: int | None = None
    """Of PyTorch, while it writes. By default its own choice."""
    device: str | None = None
    """Where the model runs, such as "cuda". By default the CPU."""
    json: bool = False
    """Print one JSON object, {"url", "token", "store"}, to standard output once the page can be opened."""

    def execute(self) -> int:
        """Serve until the process is interrupted."""
        page = _server()
        mention_idle_gpu(self.device)
        given = self.token or os.environ.get(TOKEN) or None
        token = page.token_for(self.host, given, self.behind_proxy)
        if token != given and not self.json:
            log.warning("people need the token %s", token)
        path = Path(self.store).expanduser()
        if path.exists():
            FeedbackStore(path).close()  # a file that is no store is said before a model is loaded
        recogniser = None if self.recogniser is None else make_recogniser(self.recogniser)
        with page.bound(self.host, self.port) as sock:
            model = serve_model(self.model, device=self.device or "cpu", temperature=self.temperature)
            self._serve(page, sock, model, path, token, recogniser)
        return 0

    def _serve(
        self,
        page: ModuleType,
        sock: socket,
        model: ServedModel,
        path: Path,
        token: str | None,
        recogniser: Recogniser | None,
    ) -> None:
        """Make the store if there is none, now that nothing stands in the way, and serve."""
        with FeedbackStore(path) as store:
            secret = secret_of(Path(store.path))
            learner = None if self.learn == "off" else self._learner(model, store)
            if learner is not None:
                model = replace(model, policy=learner.policy)
            chat = Chat(store, model, Writer(model, learner, self.threads), learner)
            ready = partial(self._ready, token=token, store=store.path)
            where = dict(host=self.host, token=token, behind_proxy=self.behind_proxy)
            page.serve(chat, secret, sock, ready=ready, recogniser=recogniser, **where)

    def _learner(self, model: ServedModel, store: FeedbackStore) -> LiveLearner:
        """What learns while people talk, and knows what they said before; its versions are saved beside the store."""
        folder, defaults = Path(f"{store.path}.versions"), LiveConfig()
        config = replace(
            defaults,
            every=0 if self.learn == "memory" else defaults.every,
            kept_notes=0 if self.learn == "weights" else defaults.kept_notes,
        )
        learner = LiveLearner(
            model.policy,
            model.own_tokenizer(),
            config,
            folder=folder,
            base=model.fingerprint,
            ledger=StoreLedger(store, folder),
        )
        learner.restore(lessons(store, model.own_tokenizer(), model.fingerprint))
        return learner

    def _ready(self, url: str, token: str | None, store: str) -> None:
        log.info("%s is served at %s; what people say is kept in %s", self.model, url, store)
        if self.json:
            print(json.dumps({"url": url, "token": token, "store": store}), flush=True)


def _server() -> ModuleType:
    """What serves the page. Raises ImportError, with what to install, where Starlette or uvicorn is missing."""
    try:
        from dyngen_agents.feedback.page import server
    except ImportError as error:
        if (error.name or "").split(".")[0] not in ("starlette", "uvicorn"):
            raise
        raise ImportError("dyngen serve needs Starlette and uvicorn: pip install starlette uvicorn") from error
    return server
