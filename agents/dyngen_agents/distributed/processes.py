"""The processes that share a training run: their ranks, and the collectives (all-gather, all-reduce) between them.

Data parallelism in which every process holds the whole batch, the same weights and the same optimizer state. Each
computes the log-probs and gradients of its share of the rows, and an all-reduce adds the shares up. So what a run
learns does not depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Value = TypeVar("Value")


class ProcessFailed(RuntimeError):
    """Another process of this run has failed, so this one cannot go on."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as seen by one of them. This class is a run of one process, for which every collective is
    the identity; `from_launcher()` returns a `LaunchedProcesses` where there are several.

    Args:
        rank: the number of this process, from 0. Only rank 0 writes files and shows progress.
        world_size: the number of processes.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows things."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """The rows of this process: every `world_size`-th of rows (R,), from the one at index `rank` on."""
        return rows[self.rank :: self.world_size]

    def exchange(self, value: Any) -> list[Any]:
        """The values of all processes, by rank (all-gather).

        Every process must call this, or the others wait. Values are pickled; tensors in them must be on the CPU.

        Raises:
            ProcessFailed: another process has ended or cannot be reached.
        """
        return [value]

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor in place by its sum over the processes (all-reduce), the same bits in each of them.

        Raises:
            ProcessFailed: as `exchange`.
        """

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradient of each parameter by its sum over the processes. A missing gradient counts as zero.

        Raises:
            ProcessFailed: as `exchange`.
        """

    def total(self, numbers: dict[str, float]) -> dict[str, float]:
        """The sums over the processes of named numbers. A name that a process does not have counts as zero there."""
        told = self.exchange(numbers)
        names = dict.fromkeys(name for each in told for name in each)
        return {name: sum(each.get(name, 0.0) for each in told) for name in names}

    def any(self, flag: bool) -> bool:
        """True if the flag is True in any process (all-reduce OR)."""
        return any(self.exchange(flag))

    def gather(self, action: Callable[[], Value]) -> list[Value]:
        """Call `action` in every process and return all results, by rank. If one process fails, all of them raise.

        Raises:
            ProcessFailed: `action` failed in another process. The process in which it failed raises its own error.
        """
        mine, failure = None, None
        try:
            mine = action()
        except Exception as error:
            failure = error
        told = self.exchange((mine, None if failure is None else f"{type(failure).__name__}: {failure}"))
        if failure is not None:
            raise failure
        for rank, (_, message) in enumerate(told):
            if message is not None:
                raise ProcessFailed(f"process {rank} of {self.world_size} failed: {message}")
        return [value for value, _ in told]

    def once(self, action: Callable[[], Value | None]) -> Value:
        """Call `action` in rank 0 alone and return its result in every process. Raises as `gather`."""
        return self.gather(lambda: action() if self.first else None)[0]  # type: ignore[return-value]

    def leave(self) -> None:
        """Leave the process group at the end of the run."""


SINGLE_PROCESS = Processes()


@dataclass(frozen=True)
class LaunchedProcesses(Processes):
    """The processes that `torchrun` or `accelerate launch` has started, joined in torch's default process group."""

    def exchange(self, value: Any) -> list[Any]:
        told: list[Any] = [None] * self.world_size
        self._together(lambda: dist.all_gather_object(told, value))
        return told

    def add(self, tensors: Iterable[Tensor]) -> None:
        # All at once: the next tensor travels while the one before it is added.
        self._together(lambda: [w.wait() for w in [dist.all_reduce(t, async_op=True) for t in tensors]])

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:  # this process had no row of the minibatch
                parameter.grad = torch.zeros_like(parameter)
        self.add(parameter.grad for parameter in parameters)  # type: ignore[misc]

    def leave(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()

    def _together(self, collective: Callable[[], Any]) -> None:
        try:
            collective()
        except RuntimeError as error:  # gloo and NCCL have no exception of their own for a peer that has died
            raise ProcessFailed(
                f"process {self.rank} of {self.world_size} has lost the others, see what they say "
                f"({str(error).splitlines()[0]})"
            ) from error


def from_launcher() -> Processes:
    """The processes that a launcher has started together with this one; `SINGLE_PROCESS` where there is no launcher.

    Accelerate reads the launcher's environment variables and joins the process group: NCCL between GPUs, of which each
    process gets one of its own, and gloo for tensors on the CPU.
    """
    from accelerate import PartialState
    from accelerate.utils import get_cpu_distributed_information

    if get_cpu_distributed_information().world_size == 1:
        return SINGLE_PROCESS
    gpus = torch.cuda.is_available()
    state = PartialState(backend="cuda:nccl,cpu:gloo") if gpus else PartialState(cpu=True)
    return LaunchedProcesses(state.process_index, state.num_processes)
