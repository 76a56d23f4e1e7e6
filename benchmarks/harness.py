"""Timing two things fairly: warmed up, interleaved in one run, medians; printed as a table and written as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

Row = dict[str, Any]  # measure, peer, ours, theirs, ratio, unit


def compare(
    measure: str,
    peer: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    unit: str,
    repeats: int = 5,
) -> Row:
    """Medians of what two functions report, run by turns after a warm-up each.

    Each function does its work once and returns a rate (more is better), or if `unit` is a time or a size, that.
    `ratio` is ours over theirs.
    """
    ours(), theirs()
    pairs = [(theirs(), ours()) for _ in range(repeats)]
    their, our = (statistics.median(column) for column in zip(*pairs, strict=True))
    return dict(measure=measure, peer=peer, ours=our, theirs=their, ratio=our / their, unit=unit)


def rate(work: Callable[[], float], device: str = "cpu") -> Callable[[], float]:
    """A function that runs `work`, which returns how much it did, and gives the amount per second."""

    def timed() -> float:
        _wait(device)
        start = time.perf_counter()
        amount = work()
        _wait(device)
        return amount / (time.perf_counter() - start)

    return timed


def main(
    description: str | None,
    measure: Callable[[argparse.Namespace], Iterable[Row]],
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> None:
    """Run a benchmark module: `--json PATH`, `--device`, `--quick` (fewer repeats), and `options` of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: for a look, not for a claim")
    options(parser)
    arguments = parser.parse_args()
    arguments.repeats = 2 if arguments.quick else 5
    rows = []
    for row in measure(arguments):
        rows.append(row)
        sys.stderr.write(f"{row['measure']}: {row['ratio']:.3g}x\n")
        if arguments.json:  # after each row: an interrupted run keeps what it measured
            report = {"rows": rows, "machine": machine(arguments.device), "versions": versions()}
            arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    show(rows)


def show(rows: list[Row]) -> None:
    """Print rows as a table."""
    table = Table("measure", "peer", "ours", "theirs", "ratio", "unit")
    for row in rows:
        table.add_row(row["measure"], row["peer"], f"{row['ours']:,.4g}", f"{row['theirs']:,.4g}",
                      f"{row['ratio']:.2f}", row["unit"])  # fmt: skip
    Console().print(table)


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")]  # fmt: skip
        name = models[0] if models else name
    cuda = torch.cuda.get_device_name() if device.startswith("cuda") else None
    return {"cpu": name, "cores": os.cpu_count(), "torch_threads": torch.get_num_threads(), "cuda": cuda}


def versions() -> dict[str, str]:
    """Of what matters for the figures."""
    out = {"python": platform.python_version()}
    for package in ("torch", "transformers", "gymnasium", "stable-baselines3", "trl", "numpy"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "not installed"
    return out


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
