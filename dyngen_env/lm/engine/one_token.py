"""The newest token of every row through the model, without a number from the host: what a CUDA graph can hold.

Rows attend to a fixed number of cached positions, so that the shapes are the same at each step. Query heads that share
a key head are taken for query positions of that head: no key is repeated. On a GPU with Triton a kernel reads of each
row only what it holds; elsewhere a mask hides the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import scaled_dot_product_attention

from dyngen_env.lm.engine.compatibility import agree
from dyngen_env.lm.engine.forward import CachedForward
from dyngen_env.lm.engine.fused_layers import fused_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "dyngen_one_token"  # our attention among those of transformers
SHORTEST = 32  # positions that rows attend to, at least: graphs are captured for powers of two of them
BEYOND_SOFTMAX = ("softcap", "s_aux", "position_bias")  # of a layer's scores: caps, sinks, biases
KERNEL, GROUPED, MODEL = "a Triton kernel", "grouped queries", "the model's own attention"

_attend: Callable[..., torch.Tensor] | None = None  # `attention_kernel.attend`, where there is Triton

log = logging.getLogger(__name__)


class OneToken:
    """Hidden states (B, D) at the last tokens of rows, whose other tokens the slots of a `CachedForward` hold.

    At first it compares its attention with the model's own, and keeps to the latter where they differ.

    Args:
        forward: of B slots of L tokens.
        tokens: (B, L) int64. lengths: (B,) int64, at least 1.
        compile: let inductor fuse what lies between matrix products and attention, which takes a minute at first. If
            that fails, one warning says so.

    Attributes:
        attention: KERNEL, GROUPED or MODEL.
        fused: whether norms and rotary positions are one kernel each (`fused_layers`).
        compiled: whether the forward is compiled, which leaves fusing to inductor.
    """

    def __init__(self, forward: CachedForward, tokens: torch.Tensor, lengths: torch.Tensor, compile: bool = False):
        self._forward, self._width = forward, tokens.shape[1]
        self.attention, self.fused, self.compiled = MODEL, False, False
        if forward.model.config._attn_implementation == "sdpa":
            _register()
            on_gpu = tokens.device.type == "cuda" and _attend is not None
            if not (on_gpu and forward.attends_to_all and self._take("attention", KERNEL, tokens, lengths)):
                self._take("attention", GROUPED, tokens, lengths)
            if on_gpu and not compile:
                self._take("fused", True, tokens, lengths)
        if compile:
            self._take("compiled", True, tokens, lengths)

    def _take(self, name: str, choice: str | bool, tokens: torch.Tensor, lengths: torch.Tensor) -> bool:
        """Run in that way from now on, if it gives what the model itself gives; else one warning says what differs."""
        before = getattr(self, name)
        theirs = self._forward.run(tokens, lengths, None, 1, self._width)
        setattr(self, name, choice)
        try:
            ours = self(tokens, lengths, self._width)
            if agree(ours, theirs, cached=True):
                return True
            reason = f"hidden states differ by {float((ours.float() - theirs.float()).abs().max()):.3g}"
        except Exception as error:  # what a kernel, a compiler or an architecture's layers do not take
            reason = f"{type(error).__name__}: {error}"
            log.debug("%s by %s", name, choice, exc_info=True)
        setattr(self, name, before)
        log.warning("%s by %s does not suit %s (%s)", name, choice, type(self._forward.model).__name__, reason)
        return False

    def __call__(self, tokens: torch.Tensor, lengths: torch.Tensor, end: int) -> torch.Tensor:
        """Run the last tokens; nothing is read on the host. No row is longer than `end`, a value of `self.end`."""
        # The kernel is told the lengths where others are told a mask: transformers hands 4-D masks on as they are.
        mask = lengths.to(torch.int32).view(-1, 1, 1, 1) if self.attention == KERNEL else None
        model = self._forward.model
        with (
            _our_attention(model) if self.attention != MODEL else nullcontext(),
            fused_layers(model) if self.fused else nullcontext(),
        ):
            return self._forward.run(tokens, lengths, None, 1, end, mask, self.compiled)

    def end(self, longest: int) -> int:
        """How many cached positions to attend to if the longest row has so many tokens."""
        if self.attention == KERNEL:
            return self._width
        return min(self._width, max(SHORTEST, 1 << (longest - 1).bit_length()))


def one_token_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers asks for it, of one query position a row.

    Args:
        query: (B, H, 1, D). key, value: (B, G, E, D), the key head g being shared by the query heads g H/G + i.
        attention_mask: (B, 1, 1, E) bool; or (B, 1, 1, 1) int32, how many of the E positions each row attends to.

    Returns:
        (B, 1, H, D), and no weights.

    Raises:
        NotImplementedError: the layer wants more of its scores than a softmax, such as Gemma 2's cap.
    """
    if wanted := [name for name in BEYOND_SOFTMAX if kwargs.get(name) is not None]:
        raise NotImplementedError(f"attention with {', '.join(wanted)}")
    rows, heads, _, dim = query.shape
    shared = key.shape[1]
    if attention_mask is not None and attention_mask.dtype == torch.int32:
        assert _attend is not None
        out = _attend(query.reshape(rows, heads, dim), key, value, attention_mask.view(rows), scaling or dim**-0.5)
        return out.view(rows, 1, heads, dim), None
    grouped = query.reshape(rows, shared, heads // shared, dim)
    out = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=scaling)
    return out.reshape(rows, 1, heads, value.shape[-1]), None


def _register() -> None:
    """Tell transformers of our attention, and load the kernel where that is possible."""
    global _attend
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, one_token_attention)
    try:
        from dyngen_env.lm.engine.attention_kernel import attend
    except ImportError:  # there is no Triton
        return
    _attend = attend


@contextmanager
def _our_attention(model: PreTrainedModel) -> Iterator[None]:
    """The model's layers use our attention meanwhile."""
    configs = {id(config): config for module in model.modules() if (config := getattr(module, "config", None))}
    before = [(config, config._attn_implementation) for config in configs.values()]
    try:
        for config, _ in before:
            config._attn_implementation = NAME
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation
