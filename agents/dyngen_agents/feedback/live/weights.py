"""Which weights of a served model learn, and a copy of the model in which they do: the rest is shared, not copied."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dyngen_agents.feedback.live.config import LiveConfig
from dyngen_agents.policy.lora import add_lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def choose_weights(lm: PreTrainedModel, config: LiveConfig) -> list[str]:
    """The names of the weights that are to learn; all weights of `lm` are frozen. Adapters are added if they are to.

    Raises:
        ImportError, ValueError: see `add_lora`; or the model has no list of layers.
    """
    if config.lora_rank:
        add_lora(lm, config.lora_rank, config.seed)
        learning = {id(p) for name, p in lm.named_parameters() if ".lora_" in name}
    else:
        layers = layers_of(lm)
        if not layers:
            raise ValueError(f"{type(lm).__name__} has no list of layers of which the last could learn: set lora_rank")
        learning = {id(p) for layer in layers[-config.last_layers :] for p in layer.parameters()}
    lm.requires_grad_(False)
    return [name for name, p in lm.named_parameters() if id(p) in learning]


def layers_of(lm: PreTrainedModel) -> nn.ModuleList:
    """The model's layers, from the first to the last: its longest list of modules; empty if it has none."""
    lists = [module for module in lm.base_model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=nn.ModuleList())


def twin(lm: PreTrainedModel, names: Sequence[str] = ()) -> PreTrainedModel:
    """A copy of a model that shares all tensors with it but the weights called `names`, which it has its own of.

    No engine of the model watches the copy: its forward passes with gradients empty nobody's cache.
    """
    own = {id(p) for name, p in lm.named_parameters() if name in names}
    shared: dict[int, Any] = {id(t): t for t in (*lm.parameters(), *lm.buffers()) if id(t) not in own}
    out = copy.deepcopy(lm, shared)
    out.base_model._forward_pre_hooks.clear()
    return out


@torch.no_grad()
def read_weights(lm: PreTrainedModel, names: Sequence[str]) -> dict[str, Tensor]:
    """Copies of the weights called `names`."""
    weights = dict(lm.named_parameters())
    return {name: weights[name].detach().clone() for name in names}


@torch.no_grad()
def write_weights(lm: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Set weights by name, in place: whoever holds the model computes with them from the next forward pass on."""
    own = dict(lm.named_parameters())
    for name, weight in weights.items():
        own[name].copy_(weight)
