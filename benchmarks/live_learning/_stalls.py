"""What learning in the background costs those who are served meanwhile: the time from one token to the next."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from rich.table import Table

from dyngen_agents.feedback.live import LiveConfig, LiveLearner, RatedTurn
from dyngen_agents.feedback.live.background import NICENESS
from dyngen_agents.feedback.page.served_model import serve_model

TURNS, TOKENS, CONTEXT = 15, 20, 64


def stalls(model: str) -> Table:
    """Gaps between tokens, in milliseconds: alone, beside another process that computes as much at the learner's
    priority, and beside the learner, which is kept busy. The second is what its share of the CPU costs anyhow."""
    served = serve_model(model)
    tokenizer = served.tokenizer
    learner = LiveLearner(served.policy, tokenizer, LiveConfig(every=1))
    shown = Table("beside", "median, ms", "99%", "longest", "swaps")
    text = tokenizer.encode(" a good film with a fine cast, and a story that moves" * 10)
    prompt, turn = [*tokenizer.encode_opening("what did you think of it"), *text][:CONTEXT], tuple(text[:TOKENS])

    def row(name: str, learns: bool) -> None:
        gaps, swaps = _gaps(learner, prompt, turn, name if learns else "")
        shown.add_row(name, *(f"{x:.1f}" for x in (np.median(gaps), np.percentile(gaps, 99), gaps.max())), str(swaps))

    row("warm-up", True)
    learner.wait()
    row("nothing", False)
    with _busy_process():
        row("a process", False)
    row("the learner", True)
    learner.close()
    return shown


def _gaps(learner: LiveLearner, prompt: list[int], turn: tuple[int, ...], name: str) -> tuple[np.ndarray, int]:
    """The milliseconds before each token, swaps included, and how many versions were swapped in.

    Args:
        name: of the turns from which the learner learns meanwhile; "" if it does not.
    """
    gaps, versions = [], set()
    policy, config = learner.policy, learner.config
    for written in range(TURNS):
        if name:  # an update is always under way
            for number in range(config.replay):
                told = RatedTurn(f"{name} {written} {number}", "ann", tuple(prompt), turn, float(number % 9 - 4))
                learner.rated(told)
        tokens = torch.full((1, CONTEXT + TOKENS), -1)
        tokens[0, :CONTEXT] = torch.tensor(prompt)
        begun = time.perf_counter()
        versions.add(learner.before_turn())
        for n in range(TOKENS):
            chosen = policy.act(tokens, torch.tensor([CONTEXT + n]), None).tokens
            tokens[0, CONTEXT + n] = chosen[0]
            now = time.perf_counter()
            gaps.append(1000 * (now - begun))
            begun = now
    return np.array(gaps), len(versions) - 1


@contextmanager
def _busy_process() -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=_compute, daemon=True)
    process.start()
    time.sleep(8.0)  # until it has imported what it needs
    try:
        yield
    finally:
        process.kill()
        process.join()


def _compute() -> None:
    os.nice(NICENESS)
    torch.set_num_threads(1)
    matrix = torch.randn(512, 512)
    while True:
        matrix = matrix @ matrix / matrix.norm()
