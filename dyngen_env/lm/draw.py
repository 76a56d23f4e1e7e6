"""Draws next tokens from a model's raw logits: the one place that chooses between a kernel and torch's operations.

The kernel (`sampling_kernel`) serves the common case on a GPU with Triton: a temperature above 0 and legal tokens,
neither top-k nor top-p nor banned words. At its first use for logits of a kind its results are compared with those of
torch's operations; where they differ, or it does not run, one warning says so and torch's operations are used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.sampling import greedy, sample

KERNEL_ON = "cuda"  # the type of device on which the kernel is used; "" switches it off
COMPARED = 64  # rows that are compared at first use, at most
LOGPROB_ERROR, BOUNDARY_ERROR = 1e-3, 1e-4  # beyond rounding of float32 sums over 300,000 tokens

log = logging.getLogger(__name__)

Kernel = Callable[[Tensor, Tensor | None, Tensor, float], tuple[Tensor, Tensor]]

_suits: dict[tuple, bool] = {}  # whether the kernel can be used, by device, precision and number of tokens


def draw(
    distribution: TokenDistribution, raw: Tensor, states: Tensor | None, uniform: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Draw the next token of each row. Nothing is read on the host, except at first use.

    Args:
        distribution: over V tokens.
        raw: (B, W) a model's logits, W >= V, in its own precision.
        states: (B,) of `distribution.state`; None where it needs none.
        uniform: (B,) float32 in [0, 1), the randomness; None takes the likeliest token.

    Returns:
        tokens (B,) int64 and their log-probs (B,) float32.
    """
    if uniform is not None and _plain(distribution) and (kernel := _suitable_kernel(distribution, raw, uniform)):
        return kernel(raw, distribution.legal, uniform, float(distribution.sampling.temperature))
    logits = distribution.warp(raw, states)
    return greedy(logits) if uniform is None else sample(logits, uniform)


def _plain(distribution: TokenDistribution) -> bool:
    """Whether there is nothing but a temperature above 0 and legal tokens."""
    s = distribution.sampling
    return distribution.banned is None and s.temperature > 0 and not s.top_k and s.top_p == 1


@cache
def _load_kernel() -> Kernel | None:
    """The kernel; None where there is no Triton."""
    try:
        from dyngen_env.lm.sampling_kernel import fused_sample
    except ImportError:
        return None
    return fused_sample


def _suitable_kernel(distribution: TokenDistribution, raw: Tensor, uniform: Tensor) -> Kernel | None:
    """The kernel, if it can be used for logits of this kind."""
    if raw.device.type != KERNEL_ON or raw.requires_grad or not raw.numel() or raw.stride(-1) != 1:
        return None
    kernel = _load_kernel()
    if kernel is None:
        return None
    tokens = None if distribution.legal is None else len(distribution.legal)
    kind = (raw.device, raw.dtype, uniform.dtype, raw.shape[1], tokens)
    if kind not in _suits:
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            return None  # a comparison reads on the host
        _suits[kind] = _compare(kernel, distribution, raw, uniform)
    return kernel if _suits[kind] else None


def _compare(kernel: Kernel, distribution: TokenDistribution, raw: Tensor, uniform: Tensor) -> bool:
    """Whether the kernel gives what torch's operations give on some of these rows; else one warning says why."""
    try:
        tokens, logprobs = kernel(raw, distribution.legal, uniform, float(distribution.sampling.temperature))
        some = slice(None, None, -(-len(raw) // COMPARED))
        difference = _difference(distribution.warp(raw[some], None), uniform[some], tokens[some], logprobs[some])
    except Exception as error:  # whatever a compiler or a device does not take
        difference = f"{type(error).__name__}: {error}"
        log.debug("a kernel that draws tokens", exc_info=True)
    if difference:
        log.warning("tokens of %s logits are drawn by torch's operations, not by a kernel (%s)", raw.dtype, difference)
    return not difference


def _difference(logits: Tensor, uniform: Tensor, tokens: Tensor, logprobs: Tensor) -> str:
    """What is wrong with drawn tokens (R,) and their log-probs (R,), given warped logits (R, V); "" if nothing.

    A token is right if the uniform number lies in its interval of the cumulative distribution, up to rounding.
    """
    if bool(((tokens < 0) | (tokens >= logits.shape[-1])).any()):
        return f"a token is not among {logits.shape[-1]}"
    logp = logits.double().log_softmax(-1)
    own = logp.gather(1, tokens.unsqueeze(1)).squeeze(1)
    error = float((logprobs - own).abs().max())
    if not error <= LOGPROB_ERROR:  # NaN is an error, too
        return f"log-probs differ by {error:.3g}"
    above = logp.exp().cumsum(-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
    distance = float(torch.maximum(above - own.exp() - uniform, uniform - above).max())
    return "" if distance <= BOUNDARY_ERROR else f"a token is {distance:.3g} off in the cumulative distribution"
