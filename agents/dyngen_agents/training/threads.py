"""How many CPU threads a run uses: the fastest number in a short trial of its own forward and backward passes.

More threads are not always faster. A tiny model gives each of them too little to do, and beside another program the
threads wait for the one that shares its core. The last bits of a run depend on the number: with `threads=` or
OMP_NUM_THREADS there is no trial.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from dyngen_agents.policy.causal_lm import CausalLMPolicy

ROUNDS = 5
SECONDS = 3.0  # of a trial, at most about so much; each number of threads is timed at least once
CLEARLY = 1.15  # fewer threads must be faster by this factor: otherwise a quiet machine's choice would be chance
MOST_ROWS, TOKENS = 32, 24  # of a trial's batch, which for the default model is of the size of an update's passes
WORK = 2e9  # parameters times tokens of a trial's batch, about: larger models get fewer rows


@contextlib.contextmanager
def cpu_threads(wanted: int | None, policy: CausalLMPolicy, say: Callable[[str], None]) -> Iterator[None]:
    """Within it torch computes with the `wanted` number of CPU threads, or by a trial with the fastest number.

    There is no trial where OMP_NUM_THREADS is set (launchers of several processes set it), and on a GPU.

    Args:
        say: is told if fewer threads are used than torch would by itself.
    """
    before = torch.get_num_threads()
    on_cpu = next(policy.parameters()).device.type == "cpu"
    if wanted is None and on_cpu and before > 1 and "OMP_NUM_THREADS" not in os.environ:
        wanted = fastest(candidates(before), lambda threads: seconds_of_passes(policy, threads))
        if wanted != before:
            say(f"{wanted} of {before} CPU threads, which was faster in a trial; threads={before} would use all")
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def candidates(most: int) -> list[int]:
    """Numbers of threads worth a trial: `most`, then each half of the one before, down to 1."""
    numbers = [most]
    while numbers[-1] > 1:
        numbers.append(numbers[-1] // 2)
    return numbers


def fastest(numbers: Sequence[int], seconds_with: Callable[[int], float]) -> int:
    """The number of threads to use.

    Args:
        numbers: to choose from; the first is kept unless another is clearly faster.
        seconds_with: does the work once with so many threads, and tells how long it took.

    The numbers take turns, since other load comes and goes; what counts is each one's median.
    """
    times: dict[int, list[float]] = {number: [] for number in numbers}
    for number in numbers:
        seconds_with(number)  # the first time also pays for starting threads and for memory
    began = time.monotonic()
    for _ in range(ROUNDS):
        for number in numbers:
            times[number].append(seconds_with(number))
        if time.monotonic() - began > SECONDS:
            break
    medians = {number: statistics.median(times[number]) for number in numbers}
    best = min(numbers, key=medians.__getitem__)
    return best if medians[best] * CLEARLY < medians[numbers[0]] else numbers[0]


def seconds_of_passes(policy: CausalLMPolicy, threads: int) -> float:
    """How long a forward and a backward pass of a small batch take with so many threads. Leaves no gradients."""
    torch.set_num_threads(threads)
    size = sum(parameter.numel() for parameter in policy.parameters())
    rows = max(2, min(MOST_ROWS, int(WORK / (size * TOKENS))))
    tokens = torch.zeros((rows, TOKENS), dtype=torch.int64)  # any will do: time does not depend on them
    completion_mask = torch.ones_like(tokens, dtype=torch.bool)
    completion_mask[:, 0] = False  # nothing stands before the first token that it could be predicted from
    began = time.perf_counter()
    policy.evaluate(tokens, completion_mask).logprobs.sum().backward()
    seconds = time.perf_counter() - began
    for parameter in policy.parameters():
        parameter.grad = None
    return seconds
