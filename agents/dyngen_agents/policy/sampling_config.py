"""How tokens are drawn from the logits: temperature, top-k, top-p."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingConfig:
    """The one distribution: acting, evaluating and the reference all use it."""

    temperature: float = 1.0
    """Logits are divided by it."""
    top_k: int = 0
    """Sample among the k most likely tokens; 0 is all. With PPO the ratio is then taken over those k."""
    top_p: float = 1.0
    """Sample among the most likely tokens that have this mass together; 1 is all."""
