"""The processes that share a run: who they are, and how they tell each other things and add numbers up.

Every process holds the whole batch, the same weights and the same optimizer; each computes its share of the log-probs
and of the gradients, and sums make them whole again. So what a run learns does not depend on how many share the work.
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
    """One process by itself; `from_launcher()` gives what many are.

    Args:
        rank: this process's number. The first, 0, is the only one that writes and shows things.
        world_size: how many there are.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows things."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of rows (R,): every `world_size`-th of them."""
        return rows[self.rank :: self.world_size]

    def exchange(self, value: Any) -> list[Any]:
        """Everybody's value, by rank. All processes must come here; values are pickled, tensors must be on the CPU.

        Raises:
            ProcessFailed: one that is gone.
        """
        return [value]

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the sum of everybody's, the same bits everywhere. Raises as `exchange`."""

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by the sum of everybody's; one that is missing counts as zero."""

    def total(self, numbers: dict[str, float]) -> dict[str, float]:
        """The sums of everybody's numbers, by name; a name that a process does not have counts as zero there."""
        told = self.exchange(numbers)
        names = dict.fromkeys(name for each in told for name in each)
        return {name: sum(each.get(name, 0.0) for each in told) for name in names}

    def any(self, flag: bool) -> bool:
        """True if the flag is True in any process (all-reduce OR)."""
        return any(self.exchange(flag))

    def gather(self, action: Callable[[], Value]) -> list[Value]:
        """What `action` gives everywhere, by rank. If it fails in one process, it fails in all.

        Raises:
            ProcessFailed: it failed elsewhere; where it did, the error itself is raised.
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
        """What `action` gives in the first process, which alone carries it out. Raises as `gather`."""
        return self.gather(lambda: action() if self.first else None)[0]  # type: ignore[return-value]

    def leave(self) -> None:
        """Part from the others, at the end."""


SINGLE_PROCESS = Processes()


@dataclass(frozen=True)
class LaunchedProcesses(Processes):
    """Processes that `torchrun` or `accelerate launch` has started, joined in torch's process group."""

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
    """The processes that a launcher has started together with this one; without a launcher, this one `SINGLE_PROCESS`.

    Accelerate reads the launcher's variables and joins the process group: NCCL for GPUs (and each process gets its
    own), gloo for what is on the CPU.
    """
    from accelerate import PartialState
    from accelerate.utils import get_cpu_distributed_information

    if get_cpu_distributed_information().world_size == 1:
        return SINGLE_PROCESS
    gpus = torch.cuda.is_available()
    state = PartialState(backend="cuda:nccl,cpu:gloo") if gpus else PartialState(cpu=True)
    return LaunchedProcesses(state.process_index, state.num_processes)
