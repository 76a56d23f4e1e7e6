"""Writes turns of the agent in several dialogues at once: one thread, which gives each of them a token in turn."""

from __future__ import annotations

import codecs
import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from dyngen_agents.feedback.live.learner import LiveLearner
from dyngen_agents.feedback.page.served_model import ServedModel
from dyngen_agents.feedback.page.writing import Job, Writing, Written
from dyngen_agents.policy.feedback_memory import FeedbackMemory
from dyngen_env import mdp
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.lm.sampling import uniforms
from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.state import FINISH_REASONS, LIVE, TokenState
from dyngen_env.text.padding import pad_rows

log = logging.getLogger(__name__)

SEATS = 4  # dialogues whose keys and values are kept: SmolLM2 takes 94 MB for 2048 tokens
WAITING_TOTAL, WAITING_EACH = 64, 4  # turns that are written or wait, of all people and of one
BETWEEN_SWAPS = 8  # turns that may begin before all are waited for, so that a learner's new weights get in
KEPT = 256  # turns that can still be read after their end


@dataclass(slots=True)
class _Row:
    """A turn at its seat."""

    writing: Writing
    engine: Engine
    state: TokenState
    rules: mdp.Rules
    stop: tuple[bytes, ...]
    distribution: Any
    seed: int
    version: str
    memory: FeedbackMemory | None
    notes: Notes | None
    decoder: codecs.IncrementalDecoder
    first_token: float = 0.0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class Writer:
    """The serving thread: whatever touches the model happens there.

    Args:
        model: what is served.
        learner: learns while people talk: its new weights are swapped in while no turn is being written, and turns are
            written with its memory of who asks. None: nobody learns.
        threads: of torch, for this thread; None leaves it at torch's own choice.
    """

    def __init__(self, model: ServedModel, learner: LiveLearner | None = None, threads: int | None = None):
        self.model, self.learner, self.threads = model, learner, threads
        self._version, self._since_swap = model.version, 0
        self._known: OrderedDict[str, Writing] = OrderedDict()
        self._waiting: deque[Writing] = deque()
        self._active: deque[_Row] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future]] = deque()
        self._seats: OrderedDict[tuple[Any, ...], Engine] = OrderedDict()
        self._wake, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)
        self._thread.start()

    # ---------------------------------------------------------------- from other threads

    def submit(self, *jobs: Job) -> list[Writing]:
        """Have these turns written, all or none.

        Raises:
            TooBusy: too many turns are waiting, of this person or altogether.
        """
        new = [Writing(job) for job in jobs]
        with self._wake:
            if self._closed:
                raise TooBusy("the server is being shut down")
            open_ = [w for w in self._known.values() if w.outcome is None]
            own = sum(w.job.person == jobs[0].person for w in open_)
            if len(open_) + len(new) > WAITING_TOTAL or own + len(new) > WAITING_EACH:
                raise TooBusy("too many answers are being written already: wait for one of them to end")
            self._waiting.extend(new)
            self._known.update({writing.key: writing for writing in new})
            for key in [k for k, w in self._known.items() if w.outcome is not None][:-KEPT]:
                del self._known[key]
            self._wake.notify()
        return new

    def writing(self, key: str) -> Writing | None:
        """A turn by its key, as long as it is remembered."""
        with self._wake:
            return self._known.get(key)

    def asked_by(self, key: str) -> list[Writing]:
        """The turns that the request of that key has asked for, as long as they are remembered."""
        with self._wake:
            return [w for w in self._known.values() if w.job.request is not None and w.job.request.key == key]

    def open_in(self, dialogue: Any) -> list[Writing]:
        """The turns that are being written, or wait, in a dialogue: the first item of their seats."""
        with self._wake:
            return [w for w in self._known.values() if w.outcome is None and w.job.seat[0] == dialogue]

    def call(self, function: Callable[[], Any]) -> Future:
        """Have something else done on this thread, between two tokens."""
        future: Future = Future()
        with self._wake:
            if self._closed:
                raise TooBusy("the server is being shut down")
            self._jobs.append((function, future))
            self._wake.notify()
        return future

    def close(self) -> None:
        """End after the token that is being written. Turns that are half written are kept as if they were stopped."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout=30)

    # ---------------------------------------------------------------- on the thread

    def _serve(self) -> None:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        while True:
            with self._wake:
                while not (self._closed or self._jobs or self._active or self._waiting):
                    self._wake.wait()
                if self._closed:
                    break
                jobs, self._jobs = self._jobs, deque()
            for function, future in jobs:
                _do(function, future)
            self._admit()
            if self._active:
                self._active.rotate(-1)
                self._advance(self._active[-1])
        for row in list(self._active):
            row.writing.stop()
            self._advance(row)
        for _, future in self._jobs:
            future.cancel()
        while self._waiting:
            self._end(self._waiting.popleft(), {"error": "the server was shut down before the answer began: ask again"})

    def _admit(self) -> None:
        """Seat those who wait. Weights change only while nobody's turn is half written."""
        while True:
            with self._wake:
                full = len(self._active) >= SEATS or (
                    self._active and self.learner is not None and self._since_swap >= BETWEEN_SWAPS
                )
                if not self._waiting or full:
                    return
                writing = self._waiting.popleft()
            try:
                if not self._active and self.learner is not None:
                    self._version, self._since_swap = self.learner.before_turn(), 0
                self._since_swap += 1
                self._active.append(self._seated(writing))
            except Exception as error:
                self._failed(writing, error)

    def _seated(self, writing: Writing) -> _Row:
        job, model = writing.job, self.model
        engine = self._seats.pop(job.seat, None) or model.engine()
        self._seats[job.seat] = engine
        while len(self._seats) > SEATS:  # the oldest that nobody is writing at
            used = {id(row.engine) for row in self._active} | {id(engine)}
            del self._seats[next(seat for seat, other in self._seats.items() if id(other) not in used)]
        width, device = model.frame.max_context_tokens, model.lm.device
        lengths = torch.tensor([len(job.context)], device=device)
        state = mdp.initial(pad_rows([job.context], width).to(device), lengths)
        rules, stop = model.rules(job.settings)
        memory, notes = None, None
        if self.learner is not None:
            memory = self.learner.memory_of(job.person, tuple(job.context))
            notes = None if memory is None else memory.as_notes(self.learner.config.kept_notes, device)
        return _Row(
            writing, engine, state, rules, stop, model.distribution(job.settings), secrets.randbits(63), self._version,
            memory, notes, codecs.getincrementaldecoder("utf-8")("replace"),
        )  # fmt: skip

    def _advance(self, row: _Row) -> None:
        """One more token of a turn, or its end."""
        try:
            if not row.writing.stopped:
                self._write_token(row)
            if row.writing.stopped or int(row.state.finish) != LIVE:
                self._active.remove(row)
                self._conclude(row)
        except Exception as error:
            if row in self._active:
                self._active.remove(row)
            self._failed(row.writing, error)

    @torch.no_grad()
    def _write_token(self, row: _Row) -> None:
        state, policy = row.state, self.model.policy
        chance = row.distribution.sampling.temperature > 0
        step = torch.tensor([len(row.tokens)], device=state.length.device)
        uniform = uniforms(row.seed, torch.zeros_like(step), step) if chance else None
        policy.distribution = row.distribution
        hidden = row.engine.next_hidden(state.tokens, state.length, row.notes)
        action = policy.choose(hidden, state.tokens, state.length, uniform)
        row.state = mdp.append(state, action.tokens, row.rules)
        token = int(action.tokens)
        row.tokens.append(token)
        row.logprobs.append(float(action.logprobs))
        if len(row.tokens) == 1:
            row.first_token = time.monotonic() - row.writing.asked
        if text := row.decoder.decode(self.model.tokenizer.token_bytes[token]):
            row.writing.pieces.append(text)
            row.writing.changed()

    def _conclude(self, row: _Row) -> None:
        writing = row.writing
        if not row.tokens:
            self._end(writing, {"error": "stopped before a word was written"})
            return
        finish = int(row.state.finish)
        (text,) = completion_texts(self.model.tokenizer, row.state, [0], row.stop)
        self._end(
            writing,
            writing.job.keep(
                Written(
                    text=text,
                    tokens=tuple(row.tokens),
                    logprobs=tuple(row.logprobs),
                    finish="stopped" if finish == LIVE else FINISH_REASONS[finish],
                    settings=writing.job.settings,
                    seed=row.seed,
                    version=row.version,
                    memory=row.memory,
                    first_token=row.first_token,
                    seconds=time.monotonic() - writing.asked,
                )
            ),
        )

    def _failed(self, writing: Writing, error: Exception) -> None:
        log.warning("an answer could not be written: %s", error, exc_info=not isinstance(error, ValueError | OSError))
        self._end(writing, {"error": f"the answer could not be written: {error}"})

    def _end(self, writing: Writing, outcome: dict[str, Any]) -> None:
        writing.outcome = outcome
        writing.changed()


class TooBusy(RuntimeError):
    """There is more to do than is good for those who wait."""


def _do(function: Callable[[], Any], future: Future) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:  # whoever asked gets to know
        future.set_exception(error)
