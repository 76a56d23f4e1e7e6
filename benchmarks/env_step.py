"""The env alone, no model: `python -m benchmarks.env_step [--json PATH] [--device cuda]`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv

from benchmarks import setting
from benchmarks.harness import Row, compare, main, rate
from benchmarks.minimal_env import MinimalTextEnv
from dyngen_env import Transition, mdp
from dyngen_env.rewards import Reward


class Worth(Reward):
    """What `MinimalTextEnv` pays, on tensors: the mean of a lookup over the completion, at its end."""

    name = "worth"

    def __init__(self, vocabulary: int, device: str):
        self.table = torch.from_numpy(np.random.default_rng(1).random(vocabulary)).to(device)

    def __call__(self, transition: Transition) -> torch.Tensor:
        paid = torch.zeros(len(transition.actions), dtype=self.table.dtype, device=self.table.device)
        if not transition.rows:
            return paid
        rows = torch.as_tensor(transition.rows, device=paid.device)
        ended = mdp.fork(transition.spoken, rows)  # only these: a look at every row costs more than the step
        chosen = ended.completion_mask
        worth = self.table.index_select(0, ended.tokens.clamp(min=0).flatten()).view_as(chosen)
        return paid.index_copy(0, rows, worth.masked_fill_(~chosen, 0.0).sum(1) / chosen.sum(1).clamp(min=1))


class WorthOfToken(Reward):
    """The same lookup, paid as each token is written: what a GPU computes without the host."""

    name, per_token, on_tokens = "worth", True, True

    def __init__(self, vocabulary: int, device: str):
        self.table = torch.from_numpy(np.random.default_rng(1).random(vocabulary)).to(device)

    def __call__(self, transition: Transition) -> torch.Tensor:
        return self.table.take(transition.actions) * transition.live


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    device, repeats = arguments.device, arguments.repeats
    # glibc keeps blocks up to the size of the largest it has freed, and returns others to the kernel at once, so that
    # each step faults its pages in again. A process that has loaded a model has freed a large one; this one has not.
    torch.empty(31 * 2**20, dtype=torch.uint8)
    if device.startswith("cuda"):
        for rows in (256, 4096, 65536):
            yield ends(rows, setting.NEW, None, repeats, device)
            yield ends(rows, setting.NEW, 32, repeats, device)
        return
    for rows in (64, 1024, 4096):
        yield against_sync(rows, 64, repeats, device)
    yield ends(4096, 112, None, repeats, device)
    yield ends(4096, 112, 400, repeats, device)
    yield single(repeats)


def ends(rows: int, new: int, every: int | None, repeats: int, device: str) -> Row:
    """The env against a bare copy of its tokens, which is what a step that hands out new observations costs at least.

    Args:
        new: tokens of an episode, at most.
        every: a row in so many ends at each step; None: all end together, when their tokens are used up.
    """
    env = setting.env(rows, new=new, reward=WorthOfToken(setting.VOCABULARY, device), device=device)
    steps = 4 * new
    actions = np.random.default_rng(0).integers(0, setting.VOCABULARY - 2, (steps, rows))
    if every:
        actions[(np.arange(rows) + np.arange(steps)[:, None]) % every == 0] = setting.VOCABULARY - 1
    chosen = torch.from_numpy(actions).to(device)
    tokens, _ = env.reset(seed=0)

    def ours() -> float:
        for step in range(steps):
            env.step(chosen[step])
        return float(steps * rows)

    def theirs() -> float:
        for _ in range(steps):
            tokens.clone()
        return float(steps * rows)

    when = f"a row in {every} ends at each step" if every else "all end together"
    place = torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
    return compare(
        f"env step, {rows} rows of {tokens.shape[1]}, {when}, {place}", "a copy of the tokens",
        rate(ours, device), rate(theirs, device), "token-steps/s", repeats,
    )  # fmt: skip


def against_sync(rows: int, their_rows: int, repeats: int, device: str) -> Row:
    """Native rows with torch output against `SyncVectorEnv` over the minimal env; whole episodes, resets included."""
    env = setting.env(rows, reward=Worth(setting.VOCABULARY, device), device=device)
    sync = SyncVectorEnv([MinimalTextEnv] * their_rows)
    steps = 10 * setting.NEW
    random = np.random.default_rng(0)
    actions = random.integers(0, setting.VOCABULARY - 2, (steps, rows))
    ours_actions = torch.from_numpy(actions).to(device)
    their_actions = actions[:, :their_rows]
    env.reset(seed=0)
    sync.reset(seed=0)

    def ours() -> float:
        for step in range(steps):
            env.step(ours_actions[step])
        return float(steps * rows)

    def theirs() -> float:
        for step in range(steps):
            sync.step(their_actions[step])
        return float(steps * their_rows)

    return compare(
        f"env step, {rows} rows, torch output", f"SyncVectorEnv, {their_rows} rows, minimal numpy env",
        rate(ours, device), rate(theirs), "token-steps/s", repeats,
    )  # fmt: skip


def single(repeats: int) -> Row:
    """`gym.make`, one env, one step at a time, resets included; against the minimal env by itself."""
    settings: dict[str, Any] = dict(tokenizer=setting.Words(), prompts=setting.prompts(), max_new_tokens=setting.NEW)
    env = gym.make(
        "dyngen/Generate-v0", **settings, reward=lambda text: 0.0, max_context_tokens=setting.PROMPT + setting.NEW
    )
    minimal = MinimalTextEnv()

    def loop(env) -> float:
        env.reset(seed=0)
        for step in range(4000):
            if env.step(step % 1000)[2]:
                env.reset()
        return 4000.0

    return compare(
        "the single env by gym.make", "the minimal numpy env, bare",
        rate(lambda: loop(env)), rate(lambda: loop(minimal)), "steps/s", repeats,
    )  # fmt: skip


if __name__ == "__main__":
    main(__doc__, measure)
