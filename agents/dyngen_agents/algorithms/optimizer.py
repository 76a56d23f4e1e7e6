"""The optimizer as the algorithms use it: AdamW in float32, warm-up and linear annealing, clipped gradients, no NaN."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dyngen_agents.algorithms.settings import NOT_NEGATIVE, POSITIVE, check_setting
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes

MASTER = "master"  # what a checkpoint calls the float32 weights, beside Adam's own names


class PolicyOptimizer:
    """AdamW with eps 1e-5 (Huang et al. 2023); the rate warms up, then falls linearly to zero.

    Gradients, moments and weights are float32 here whatever the model is. A bfloat16 weight is the rounded copy of a
    float32 "master" (Micikevicius et al. 2018, "Mixed precision training"): it has eight significant bits, so a step of
    less than 1/512 of the weight would be lost, and the second moment, of which a step takes 1/1000, could not fall.
    After each step the copy is written in place, so whoever holds the model's weights sees the new ones.

    Args:
        parameters: those that require gradients are optimized.
        learning_rate: at the end of the warm-up.
        total_steps: gradient steps of the whole run; the rate reaches zero after the last. 0 keeps it constant.
        warmup_steps: over which the rate rises linearly.
        max_grad_norm: the global norm to which gradients are clipped.
        processes: each has a part of the gradient; their sum is applied by all.

    Raises:
        ValueError: a number out of its range.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        total_steps: int = 0,
        warmup_steps: int = 0,
        max_grad_norm: float = 1.0,
        processes: Processes = SINGLE_PROCESS,
    ):
        for name, value, kind, allowed in (
            ("learning_rate", learning_rate, float, POSITIVE),
            ("total_steps", total_steps, int, NOT_NEGATIVE),
            ("warmup_steps", warmup_steps, int, NOT_NEGATIVE),
            ("max_grad_norm", max_grad_norm, float, POSITIVE),
        ):
            check_setting(name, value, kind, allowed)
        self.parameters = [p for p in parameters if p.requires_grad]
        self.learning_rate, self.total_steps, self.warmup_steps = learning_rate, total_steps, warmup_steps
        self.max_grad_norm, self.processes = max_grad_norm, processes
        self.steps = 0

    @cached_property
    def masters(self) -> list[nn.Parameter]:
        """What is optimized: the parameters, or float32 copies of those that have less precision."""
        # Made when first needed: whoever only reads a run does not pay for them.
        return [nn.Parameter(p.detach().float()) if _is_low(p) else p for p in self.parameters]

    @cached_property
    def adam(self) -> torch.optim.AdamW:
        """The optimizer of torch that works on the masters. On a GPU a step is one kernel for many tensors."""
        on_gpu = bool(self.masters) and all(m.is_cuda for m in self.masters)
        return torch.optim.AdamW(
            self.masters, lr=self.learning_rate, eps=1e-5, weight_decay=0.0, fused=True if on_gpu else None
        )

    @cached_property
    def _copies(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """The parameters of less precision, each with its master."""
        return [(p, m) for p, m in zip(self.parameters, self.masters, strict=True) if p is not m]

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss, a scalar, to that of the next step. Sums of many are float32, too."""
        loss.backward()
        given = [(p, m) for p, m in self._copies if p.grad is not None]
        first, later = ([pair for pair in given if (pair[1].grad is None) == is_first] for is_first in (True, False))
        for _, master in first:
            master.grad = torch.empty_like(master)
        for pairs, write in ((first, torch._foreach_copy_), (later, torch._foreach_add_)):  # fewer kernels than tensors
            if pairs:
                write([m.grad for _, m in pairs], [p.grad for p, _ in pairs])  # type: ignore[misc]
        for parameter, _ in given:
            parameter.grad = None

    def rate(self) -> float:
        """The learning rate of the next step."""
        rise = min(1.0, (self.steps + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        left = max(0.0, 1 - self.steps / self.total_steps) if self.total_steps else 1.0
        return self.learning_rate * min(rise, 1.0) * left

    def step(self) -> float:
        """Apply the accumulated gradients and clear them; returns their norm before clipping.

        Raises:
            FloatingPointError: the gradients are not finite; no weight was changed.
        """
        self.processes.add_gradients(self.masters)
        norm = float(nn.utils.clip_grad_norm_(self.masters, self.max_grad_norm))
        if not norm < float("inf"):  # NaN compares false
            self.adam.zero_grad(set_to_none=True)
            raise FloatingPointError(f"the gradient's norm is {norm}: lower the learning rate, or look at the rewards")
        for group in self.adam.param_groups:
            group["lr"] = self.rate()
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self._write_copies()
        self.steps += 1
        return norm

    @torch.no_grad()
    def _write_copies(self) -> None:
        if self._copies:
            copies, masters = map(list, zip(*self._copies, strict=True))
            torch._foreach_copy_(copies, masters)  # rounds to nearest
        # Kernels for many tensors do not count as changes, by which a cache knows that the weights are others.
        torch.autograd.graph.increment_version(self.parameters)

    def tensors(self) -> dict[str, Tensor]:
        """Everything needed to go on, as named tensors (nothing has to be pickled)."""
        out = {"steps": torch.tensor(self.steps)}
        for i, (parameter, master) in enumerate(zip(self.parameters, self.masters, strict=True)):
            for key, value in self.adam.state.get(master, {}).items():
                out[f"{i}.{key}"] = value
            if master is not parameter:
                out[f"{i}.{MASTER}"] = master.detach()
        return out

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`. Those of a bfloat16 run that had no masters begin anew from its weights."""
        self.steps = int(tensors["steps"])
        fused = bool(self.adam.defaults["fused"])
        for i, master in enumerate(self.masters):
            state: dict[str, Any] = {
                key.split(".", 1)[1]: value.clone() for key, value in tensors.items() if key.startswith(f"{i}.")
            }
            if MASTER in state:
                master.data.copy_(state.pop(MASTER))
            if state:
                # A fused optimizer counts its steps on the device.
                self.adam.state[master] = {
                    k: v if k == "step" and not fused else v.to(master.device, master.dtype) for k, v in state.items()
                }
        self._write_copies()


def _is_low(parameter: nn.Parameter) -> bool:
    """Whether a parameter has less precision than float32."""
    return parameter.dtype in (torch.bfloat16, torch.float16)
