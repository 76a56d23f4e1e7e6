"""Position ids that count from a row's first token, for models with absolute position embeddings, such as GPT-2.

TRL pads prompts on the left and leaves the position ids to the model, which counts from the padding. In TRL's loss the
tokens of a shorter prompt would then have higher positions than in the rollout, and other log-probs.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn


def count_from_first_token(model: nn.Module) -> None:
    """Give `model` a hook that computes position ids from the attention mask where the caller passes none.

    Calls that continue a key-value cache are left as they are, as are models without the argument `position_ids`.
    """
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
