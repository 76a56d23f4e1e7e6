"""Rollout speed by batch and by length: `python -m benchmarks.scaling [--json PATH]`; draws benchmarks/scaling.png."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks import setting
from benchmarks.harness import Row, compare, main, rate
from benchmarks.rollout import generate
from dyngen_agents import Actor, CausalLMPolicy, collect

BATCHES, LENGTHS = (1, 4, 16, 64, 256), (24, 48, 96, 192, 384)
POWERS = (125, 250, 500, 1000, 2000, 4000)  # tokens per second, on the axis
PICTURE = Path(__file__).with_name("scaling.png")


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    """Both series; the picture is drawn once all of it is there."""
    repeats, device = min(arguments.repeats, 3), arguments.device
    by_batch, by_length = [], []
    for batch in BATCHES:
        by_batch.append(rollout(batch, setting.NEW, repeats, device))
        yield by_batch[-1]
    for new in LENGTHS:
        by_length.append(rollout(64, new, repeats, device))
        yield by_length[-1]
    draw(by_batch, by_length)


def rollout(batch: int, new: int, repeats: int, device: str) -> Row:
    """Completion tokens per second of a full rollout, and of `generate` alone."""
    plain = setting.model(device=device)
    env = setting.env(batch, new, device=device)
    policy = CausalLMPolicy(setting.model(device=device), env.token_distribution())
    prompt = torch.zeros(batch, setting.PROMPT, dtype=torch.int64, device=device)

    def ours() -> float:
        return float(collect(env, Actor(policy, seed=1), batch, seed=0).completion_lengths.sum())

    return compare(
        f"full rollout, batch {batch}, {new} new tokens", "transformers.generate alone",
        rate(ours, device), rate(lambda: generate(plain, prompt, new), device), "tokens/s", repeats,
    )  # fmt: skip


def draw(by_batch: list[Row], by_length: list[Row]) -> None:
    """Throughput over batch, and time per token-step over length, both against the peer."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for key, label, colour in (("ours", "dyngen, whole rollout", "tab:blue"), ("theirs", "generate alone", "tab:gray")):
        left.plot(BATCHES, [row[key] for row in by_batch], "o-", label=label, color=colour)
        right.plot(LENGTHS, [64e3 / row[key] for row in by_length], "o-", label=label, color=colour)
    left.set(xscale="log", yscale="log", xlabel=f"batch, {setting.NEW} new tokens", ylabel="tokens per second")
    right.set(xlabel="new tokens, batch 64", ylabel="milliseconds per step of 64 rows", ylim=(0, None))
    left.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
    left.set_yticks(POWERS, [f"{power:,}" for power in POWERS])
    left.minorticks_off()
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    figure.savefig(PICTURE, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main(__doc__, measure)
