"""The critic's last layer: it learns in units of a return's deviation, and answers in units of reward."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ValueHead(nn.Linear):
    """V(s) = μ + σ (w·h + b), from hidden states h (..., D) to (..., 1), float32.

    μ and σ are buffers, 0 and 1 unless an algorithm changes them. w and b are zero at first, so V = μ until something
    was learned (Huang et al. 2023).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, hidden_size: int, device: torch.device | None = None):
        super().__init__(hidden_size, 1, device=device, dtype=torch.float32)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        self.register_buffer("mean", torch.zeros((), device=device))
        self.register_buffer("std", torch.ones((), device=device))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.mean + self.std * super().forward(hidden)

    @torch.no_grad()
    def rescale(self, mean: float, std: float) -> None:
        """Change μ and σ, in place, and w and b such that V stays what it is for every state.

        Van Hasselt et al. 2016, "Learning values across many orders of magnitude", eq. 5-6 (Pop-Art):

            w ← w σ/σ′        b ← (σ b + μ - μ′)/σ′
        """
        self.weight.mul_(self.std / std)
        self.bias.mul_(self.std).add_(self.mean - mean).div_(std)
        self.mean.fill_(mean)
        self.std.fill_(std)

    def begin_at(self, mean: float, std: float) -> None:
        """Set μ and σ and leave w and b as they are: a head that is zero then answers μ everywhere."""
        self.mean.fill_(mean)
        self.std.fill_(std)
