"""From hidden states to logits: the one place that knows how architectures differ after their last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def hidden_states(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Last hidden states (N, T, D) of right-padded tokens (N, T), -1 where empty.

    No attention mask is needed: under causal attention nothing before the padding can see it.
    """
    return model.base_model(input_ids=tokens.clamp(min=0), use_cache=False).last_hidden_state


def lm_head(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Logits (..., V) of hidden states (..., D), scaled and capped as the model's own forward does."""
    config = model.config
    logits = model.get_output_embeddings()(hidden)
    if getattr(config, "logit_scale", None):  # Cohere
        logits = logits * config.logit_scale
    if getattr(config, "logits_scaling", None):  # Granite
        logits = logits / config.logits_scaling
    if getattr(config, "final_logit_softcapping", None):  # Gemma 2
        logits = torch.tanh(logits / config.final_logit_softcapping) * config.final_logit_softcapping
    return logits
