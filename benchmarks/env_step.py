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
from dyngen_env import Transition
from dyngen_env.rewards import Reward


class Worth(Reward):
    """What `MinimalTextEnv` pays, on tensors: the mean of a lookup over the completion, at its end."""

    name = "worth"

    def __init__(self, vocabulary: int, device: str):
        self.table = torch.from_numpy(np.random.default_rng(1).random(vocabulary)).to(device)

    def __call__(self, transition: Transition) -> torch.Tensor:
        spoken = transition.spoken
        chosen = spoken.completion_mask
        worth = self.table.index_select(0, spoken.tokens.clamp(min=0).flatten()).view_as(chosen)
        return worth.masked_fill_(~chosen, 0.0).sum(1) / chosen.sum(1).clamp(min=1) * transition.turn_ended


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    device, repeats = arguments.device, arguments.repeats
    # glibc keeps blocks up to the size of the largest it has freed, and returns others to the kernel at once, so that
    # each step faults its pages in again. A process that has loaded a model has freed a large one; this one has not.
    torch.empty(31 * 2**20, dtype=torch.uint8)
    for rows in (64, 1024, 4096):
        yield against_sync(rows, 64, repeats, device)
    yield single(repeats)


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
