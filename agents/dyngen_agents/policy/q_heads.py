"""Q and V of a language model's states: two Q heads, a slow copy of each, and a V head, on the last hidden states."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Head(nn.Module):
    """2 D ReLUs, and a linear layer of `width` outputs, zero at first: hidden states (..., D) -> (..., width)."""

    def __init__(self, hidden_size: int, width: int, device: torch.device, generator: torch.Generator):
        super().__init__()
        self.inner = nn.Linear(hidden_size, 2 * hidden_size, device=device, dtype=torch.float32)
        self.outer = nn.Linear(2 * hidden_size, width, device=device, dtype=torch.float32)
        with torch.no_grad():
            drawn = (
                torch.randn(self.inner.weight.shape, generator=generator) * (2 / hidden_size) ** 0.5
            )  # He et al. 2015
            self.inner.weight.copy_(drawn)
        for zero in (self.inner.bias, self.outer.weight, self.outer.bias):
            nn.init.zeros_(zero)

    def features(self, hidden: Tensor) -> Tensor:
        """(..., 2 D) float32."""
        return F.relu(self.inner(hidden.float()))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.outer(self.features(hidden))

    def at(self, hidden: Tensor, outputs: Tensor) -> Tensor:
        """One output (M,) int64 of each of M hidden states (M, D), without computing the others: (M,)."""
        weights, bias = F.embedding(outputs, self.outer.weight), F.embedding(outputs, self.outer.bias.unsqueeze(1))
        return (self.features(hidden) * weights).sum(-1) + bias.squeeze(-1)


class QHeads(nn.Module):
    """Q₁, Q₂, their target copies Q̄₁, Q̄₂, and V, in units of reward.

    Q = μ_Q + σ q(h) and V = μ_V + σ v(h), where q and v are zero at first: learning rates mean the same for rewards of
    any size, and a token that was never chosen keeps μ_Q. `begin_at` sets them.

    Args:
        hidden_size: D. vocabulary: V.
        device: of the heads. seed: of the first weights.
    """

    q_mean: Tensor
    v_mean: Tensor
    std: Tensor

    def __init__(self, hidden_size: int, vocabulary: int, device: torch.device, seed: int = 0):
        super().__init__()
        self.vocabulary = vocabulary
        generator = torch.Generator().manual_seed(seed)
        self.q = nn.ModuleList(Head(hidden_size, vocabulary, device, generator) for _ in range(2))
        self.targets = nn.ModuleList(Head(hidden_size, vocabulary, device, generator) for _ in range(2))
        self.v = Head(hidden_size, 1, device, generator)
        for name, number in (("q_mean", 0.0), ("v_mean", 0.0), ("std", 1.0)):
            self.register_buffer(name, torch.tensor(number, device=device))
        self.targets.requires_grad_(False)
        self.follow(1.0)

    def begin_at(self, q_mean: float, v_mean: float, std: float) -> None:
        """Set μ_Q, μ_V and σ."""
        for buffer, number in ((self.q_mean, q_mean), (self.v_mean, v_mean), (self.std, std)):
            buffer.fill_(number)

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Polyak averaging: w̄ ← (1 − rate) w̄ + rate w."""
        for slow, fast in zip(self.targets.parameters(), self.q.parameters(), strict=True):
            slow.lerp_(fast, rate)

    def value(self, hidden: Tensor) -> Tensor:
        """V(s) (...) of hidden states (..., D)."""
        return self.v_mean + self.std * self.v(hidden).squeeze(-1)

    def q_at(self, hidden: Tensor, tokens: Tensor) -> Iterator[Tensor]:
        """Q₁ and Q₂ (M,) of one token (M,) in each of M states (M, D)."""
        return (self.q_mean + self.std * head.at(hidden, tokens) for head in self.q)  # type: ignore[operator]

    @torch.no_grad()
    def target_at(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """min(Q̄₁, Q̄₂) (M,) of one token (M,) in each of M states (M, D)."""
        first, second = (head.at(hidden, tokens) for head in self.targets)  # type: ignore[operator]
        return self.q_mean + self.std * torch.minimum(first, second)

    def q_all(self, hidden: Tensor) -> Iterator[Tensor]:
        """Q₁ and Q₂ (M, V) of every token."""
        return (self.q_mean + self.std * head(hidden) for head in self.q)

    @torch.no_grad()
    def target_all(self, hidden: Tensor) -> Tensor:
        """min(Q̄₁, Q̄₂) (..., V) of every token."""
        first, second = (head(hidden) for head in self.targets)
        return self.q_mean + self.std * torch.minimum(first, second)
