"""What callers ask of a language model: hidden states of whole rows, and the logits of hidden states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dyngen_env.lm.engine.compatibility import compatibility
from dyngen_env.lm.engine.forward import whole_rows
from dyngen_env.lm.engine.logits import head_shape, lm_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["head_shape", "hidden_states", "lm_head"]


def hidden_states(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Last hidden states (N, T, D) of right-padded tokens (N, T), -1 where empty.

    Raises:
        ValueError: the model is not one that this package can use, or the rows are longer than it can be run on
            (`compatibility`).
    """
    compatibility(model).check_length(tokens.shape[1])
    return whole_rows(model, tokens)
