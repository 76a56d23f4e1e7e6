"""The state of a batch of token MDPs, and the reasons why an episode ends.

Shapes: B rows, L = max_context_tokens. The state is frozen; its tensors are never written to.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

# Why an episode ended, or the turn that is being answered. A row's `finish` is an index into this tuple; 0 means that
# the row is live, which is that its episode goes on. Where one token is several of "context", "length", "stop" and
# "illegal", the greatest counts.
FINISH_REASONS = ("", "context", "length", "stop", "illegal", "turns", "user", "goal", "steps")
LIVE, CONTEXT, LENGTH, STOP, ILLEGAL, TURNS, USER, GOAL, STEPS = range(len(FINISH_REASONS))


@dataclass(frozen=True, slots=True)
class TokenState:
    """The state of B token MDPs: for each row its context so far, and what the dynamics must know of it.

    The context holds the whole history of the episode, so a rollout need not store an observation for each step.
    """

    tokens: torch.Tensor  # (B, L) int64, right-padded with -1
    length: torch.Tensor  # (B,) int64, how many tokens the context has
    turn_start: torch.Tensor  # (B,) int64, where the current turn's completion begins
    earlier: torch.Tensor  # (B, L) bool, True where the agent chose the token in an earlier turn
    stop_state: torch.Tensor  # (B,) int64, state of the stop-string automaton
    finish: torch.Tensor  # (B,) int64, index into FINISH_REASONS
    budget: torch.Tensor | None = None  # (B,) int64, tokens that a turn may have; None: in every row as `Rules` say

    @property
    def live(self) -> torch.Tensor:
        """(B,) bool: rows whose episode goes on."""
        return self.finish.logical_not()  # LIVE is 0

    @property
    def completion_mask(self) -> torch.Tensor:
        """(B, L) bool, True where the agent chose the token."""
        at = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return self.earlier | ((at >= self.turn_start.unsqueeze(1)) & (at < self.length.unsqueeze(1)))


ALWAYS = tuple(field.name for field in fields(TokenState) if field.name != "budget")
"""The fields of a state that are tensors in every env."""
