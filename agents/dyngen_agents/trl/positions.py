"""Positions that count from a row's first token, for models that learn them absolutely, as GPT-2 does.

TRL pads prompts on the left and leaves the positions to the model, which counts from the padding: for GPT-2 a shorter
prompt would stand further right in the loss than in the rollout, and its log-probs would be those of another text.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn


def count_from_first_token(model: nn.Module) -> None:
    """From now on `model` takes positions from its attention mask where its caller gives none."""
    if "position_ids" in inspect.signature(model.forward).parameters:
        model.register_forward_pre_hook(_with_positions, with_kwargs=True)


def _with_positions(model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    mask = kwargs.get("attention_mask")
    cached = any(
        kwargs.get(name) is not None for name in ("past_key_values", "cache")
    )  # the latter from transformers 5.24
    if mask is not None and kwargs.get("position_ids") is None and not cached:
        kwargs = kwargs | {"position_ids": (mask.long().cumsum(-1) - 1).clamp(min=0)}
    return args, kwargs
