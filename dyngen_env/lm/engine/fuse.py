"""Activations as one kernel: the same function, several times faster than transformers' formula in Python."""

from __future__ import annotations

from torch import nn


def fuse_activations(model: nn.Module) -> None:
    """Replace GPT-2's GELU, eight elementwise operations a call, by torch's own kernel of the same formula.

    The tanh approximation of Hendrycks and Gimpel 2016; results differ by float rounding only.
    """
    from transformers.activations import NewGELUActivation

    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
