"""A function that runs again and again on the same tensors, as one CUDA graph: one launch instead of a thousand.

What a graph holds reads and writes the same memory at each replay, and the host sees none of it: the function takes no
arguments, reads no tensor on the host and makes no tensor whose shape depends on data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

WARM_UP = 2  # runs before a capture: kernels are chosen, workspaces made

log = logging.getLogger(__name__)


def captured(function: Callable[[], None], memory: Sequence[torch.Tensor], pool: Any = None) -> Callable[[], None]:
    """`function` as a CUDA graph, on the device of `memory`; on other devices the function itself.

    If it cannot be captured, there is one warning that says why, and the function itself is returned.

    Args:
        function: works on `memory` in place.
        memory: what the function changes. It is left as it was: the runs before a capture are undone.
        pool: of memory, by `memory_pool`, shared by graphs that never run at the same time.
    """
    if memory[0].device.type != "cuda":
        return function
    before = [tensor.clone() for tensor in memory]
    try:
        return _cuda_graph(function, memory[0].device, pool)
    except Exception as error:  # whatever an architecture does that a graph cannot hold
        log.warning(
            "a step of %s cannot be captured as a CUDA graph (%s: %s): its kernels are launched one by one",
            getattr(function, "__qualname__", function), type(error).__name__, error,
            exc_info=log.isEnabledFor(logging.DEBUG),
        )  # fmt: skip
        return function
    finally:
        for tensor, value in zip(memory, before, strict=True):
            tensor.copy_(value)


def memory_pool(device: torch.device) -> Any:
    """A pool for the inner tensors of graphs on a device; None where there are no graphs."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" and torch.cuda.is_available() else None


def _cuda_graph(function: Callable[[], None], device: torch.device, pool: Any) -> Callable[[], None]:
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the device meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            function()
    return graph.replay
