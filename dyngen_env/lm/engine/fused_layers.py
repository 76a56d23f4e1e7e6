"""A model whose RMS norms and rotary positions run as one kernel each, for as long as a captured step is written down.

Which modules are RMS norms is found by trying them. What an architecture calls otherwise, or computes otherwise, stays
as it is; whoever uses this compares the whole model's results with and without.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

ROTARY = "apply_rotary_pos_emb"  # the function of transformers' modeling files


@contextmanager
def fused_layers(model: nn.Module) -> Iterator[None]:
    """The model's norms and rotary positions are fused meanwhile. Needs a GPU and Triton."""
    from dyngen_env.lm.engine import layer_kernels  # imports Triton

    norms = [(module, eps) for module in model.modules() if (eps := _eps_of_rms_norm(module)) is not None]
    files = {sys.modules[type(module).__module__] for module in model.modules()}
    formulas = [(file, getattr(file, ROTARY)) for file in files if hasattr(file, ROTARY)]
    try:
        for module, eps in norms:
            module.forward = partial(_norm, layer_kernels.rms_norm, module, eps)
        for file, formula in formulas:
            setattr(file, ROTARY, partial(_rotary, layer_kernels.rotate, formula))
        yield
    finally:
        for module, _ in norms:
            del module.forward
        for file, formula in formulas:
            setattr(file, ROTARY, formula)


def _eps_of_rms_norm(module: nn.Module) -> float | None:
    """The ε of a module that computes an RMS norm; None of any other module."""
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not isinstance(weight, torch.Tensor) or weight.dim() != 1 or not isinstance(eps, float):
        return None
    if list(module.children()) or len(list(module.parameters())) > 1:
        return None
    kind = (type(module), weight.dtype)
    if kind not in _is_rms_norm:
        _is_rms_norm[kind] = _computes_rms_norm(module, weight, eps)
    return eps if _is_rms_norm[kind] else None


_is_rms_norm: dict[tuple[type, torch.dtype], bool] = {}


@torch.no_grad()
def _computes_rms_norm(module: nn.Module, weight: torch.Tensor, eps: float) -> bool:
    size = len(weight)
    x = torch.linspace(-3, 2, size, device=weight.device).sin().to(weight.dtype).unsqueeze(0)
    wide = x.double()
    expected = weight.double() * wide / (wide.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    try:
        got = module(x)
    except Exception:  # it wants something else
        return False
    return got.shape == x.shape and bool((got.double() - expected).abs().max() <= 0.02 * expected.abs().max())


def _norm(kernel: Callable[..., torch.Tensor], module: nn.Module, eps: float, x: torch.Tensor) -> torch.Tensor:
    return kernel(x, module.weight, eps)


def _rotary(
    kernel: Callable[..., Any], formula: Callable[..., Any], q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor,
    sin: torch.Tensor, *arguments: Any, **keywords: Any,
) -> Any:  # fmt: skip
    """The kernel for one position a row, the formula of the architecture for everything else."""
    rows, _, width, dim = q.shape
    plain = width == 1 and not arguments and not keywords and dim % 2 == 0 and k.shape[3] == dim and k.shape[0] == rows
    plain = plain and cos.shape == sin.shape == (rows, 1, dim) and cos.dtype == sin.dtype == q.dtype == k.dtype
    inner = all(x.stride(-1) == 1 for x in (q, k, cos, sin))
    return kernel(q, k, cos, sin) if plain and inner else formula(q, k, cos, sin, *arguments, **keywords)
