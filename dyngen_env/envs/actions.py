"""What an agent chose, as tokens on the env's device; whether it could be chosen, every error says by row and value."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def read_actions(actions: Any, rows: int, device: torch.device) -> torch.Tensor:
    """Actions as tokens (B,) int64 on a device.

    Raises:
        ValueError: no integers, or not one for each row.
    """
    if isinstance(actions, torch.Tensor):
        integers = actions.dtype in INTEGERS
    else:
        actions = np.asarray(actions)
        integers = actions.dtype.kind in "iu"
    if not integers:
        raise ValueError(f"actions have dtype {actions.dtype}: expected integers, a token a row")
    if tuple(actions.shape) != (rows,):
        raise ValueError(f"actions have shape {tuple(actions.shape)}: expected ({rows},), a token a row")
    tokens = torch.from_numpy(actions.astype(np.int64)) if isinstance(actions, np.ndarray) else actions
    return tokens.to(device, torch.int64)


def fitted(tokens: torch.Tensor, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B,) made to fit into [0, V), and (B,) bool, where they were out of that range.

    Nothing is read on the host, so whoever uses the tokens must ask `refuse` before the step counts.
    """
    valid = tokens.clamp(0, vocabulary - 1)
    return valid, valid != tokens


def refuse(actions: Any, outside: torch.Tensor, vocabulary: int) -> None:
    """Raises ValueError if one of the actions (B,) is out of range, as `outside` (B,) bool says."""
    rows = outside.numpy(force=True).nonzero()[0].tolist()
    if rows:
        raise ValueError(
            f"action {int(actions[rows[0]])} of row {rows[0]} is out of range: expected 0 <= token < {vocabulary}"
        )
