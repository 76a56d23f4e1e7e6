"""The optimizer as the algorithms use it: AdamW, warm-up and linear annealing, clipped gradients, no silent NaN."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dyngen_agents.algorithms.settings import NOT_NEGATIVE, POSITIVE, check_setting
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes


class PolicyOptimizer:
    """AdamW with eps 1e-5 (Huang et al. 2023); the rate warms up, then falls linearly to zero.

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
        self.adam = torch.optim.AdamW(self.parameters, lr=learning_rate, eps=1e-5, weight_decay=0.0)

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
        self.processes.add_gradients(self.parameters)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm))
        if not norm < float("inf"):  # NaN compares false
            self.adam.zero_grad(set_to_none=True)
            raise FloatingPointError(f"the gradient's norm is {norm}: lower the learning rate, or look at the rewards")
        for group in self.adam.param_groups:
            group["lr"] = self.rate()
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self.steps += 1
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Everything needed to go on, as named tensors (nothing has to be pickled)."""
        out = {"steps": torch.tensor(self.steps)}
        for i, p in enumerate(self.parameters):
            for key, value in self.adam.state.get(p, {}).items():
                out[f"{i}.{key}"] = value
        return out

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        self.steps = int(tensors["steps"])
        for i, p in enumerate(self.parameters):
            state: dict[str, Any] = {
                key.split(".", 1)[1]: value.clone() for key, value in tensors.items() if key.startswith(f"{i}.")
            }
            if state:
                self.adam.state[p] = {k: v if k == "step" else v.to(p.device) for k, v in state.items()}
