"""A discriminator on a language model's trunk: a small head reads the frozen model's hidden states."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from dyngen_env.lm.discriminators.discriminator import dropped, seeded

Hidden = Callable[[Tensor], Tensor]
"""Last hidden states (N, T, D) of a causal language model over right-padded tokens (N, T)."""


class HiddenStateDiscriminator:
    """Log-odds from the hidden state at a prefix's last token and the mean of those up to it:

        log-odds = w₂ · gelu(W₁ norm([h_p, mean of h_0 ... h_p]) + b₁) + b₂

    The language model is frozen and causal, so one pass gives the log-odds of all prefixes, and only the head has to
    be saved.

    Args:
        hidden: the trunk.
        width: D. inner: how wide the head's hidden layer is.
        dropout: the share of that layer that is dropped while it learns.
        seed: of the first weights.
    """

    kind: ClassVar[str] = "hidden-state"

    def __init__(self, hidden: Hidden, width: int, inner: int = 128, dropout: float = 0.25, seed: int = 0):
        self.settings = dict(width=width, inner=inner, dropout=dropout, seed=seed)
        self.hidden, self.dropout = hidden, dropout
        layers = lambda: nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, inner), nn.GELU())  # noqa: E731
        self.module: nn.ModuleDict = seeded(seed, lambda: nn.ModuleDict(dict(inner=layers(), out=nn.Linear(inner, 1))))

    def prefix_logits(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Discriminator`."""
        states = self._states(tokens)
        last = (tokens >= 0).sum(1, keepdim=True) - 1
        at = torch.arange(tokens.shape[1], device=tokens.device).minimum(last)  # padding repeats the whole text's
        return self._log_odds(states.gather(1, at.unsqueeze(2).expand_as(states)), generator)

    def logits(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Discriminator`."""
        last = (tokens >= 0).sum(1) - 1
        return self._log_odds(self._states(tokens)[torch.arange(len(tokens), device=tokens.device), last], generator)

    @torch.no_grad()
    def _states(self, tokens: Tensor) -> Tensor:
        """[h_p, mean of h_0 ... h_p] at each position, (N, T, 2D) float32."""
        hidden = self.hidden(tokens).float()
        count = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        return torch.cat([hidden, hidden.cumsum(1) / count[:, None]], 2)

    def _log_odds(self, states: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.module["out"](dropped(self.module["inner"](states), self.dropout, generator)).squeeze(-1)
