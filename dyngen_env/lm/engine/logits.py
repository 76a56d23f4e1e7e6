"""From hidden states to logits: the one place that knows how architectures differ after their last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def lm_head(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Logits (..., V) of hidden states (..., D), scaled and capped as the model's own forward does."""
    config = model.config.get_text_config()
    logits = model.get_output_embeddings()(hidden)
    if getattr(config, "logit_scale", None):  # Cohere
        logits = logits * config.logit_scale
    if getattr(config, "logits_scaling", None):  # Granite
        logits = logits / config.logits_scaling
    if getattr(config, "final_logit_softcapping", None):  # Gemma 2
        logits = torch.tanh(logits / config.final_logit_softcapping) * config.final_logit_softcapping
    return logits


def head_shape(model: PreTrainedModel) -> tuple[int, int]:
    """(V, D): how many logits the model's head gives, and the width of the hidden states that it takes.

    D is not always the configuration's `hidden_size`: OPT-350m has layers of width 1024 and a head of width 512.
    """
    return tuple(model.get_output_embeddings().weight.shape)
