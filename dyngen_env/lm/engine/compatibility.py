"""How a model may be run: found by comparing its own logits with ours on a few tokens, once for each model.

Architectures differ in ways that no configuration tells and that raise no error: heads of several layers, attention
that looks ahead, positions that a decoder counts by itself, windows that are obeyed or not. So a model's own logits, of
whole rows without padding, are what ours are held to: those of padded rows, and of rows that grow beside a cache.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from dyngen_env.lm.engine.forward import CachedForward, whole_rows
from dyngen_env.lm.engine.logits import lm_head
from dyngen_env.lm.loading.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

TOKENS = 8  # of the two rows that are tried, and
SHARED = 3  # with how many equal ones they begin
ANY_LENGTH = sys.maxsize
# Fields that say how many tokens sparse attention sees or sorts into a chunk: Doge, DeepSeek-V3.2 and Reformer.
CHOOSING_ATTENTION = ("keep_window_size", "index_topk", "lsh_attn_chunk_length", "local_attn_chunk_length")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compatibility:
    """How a model may be run.

    Attributes:
        cached_up_to: rows of up to this many tokens may be run beside a cache; longer ones have to be run whole.
            0 if no rows may.
        window: how many tokens the model's sliding layers see; None if it has none.
        max_tokens: no row may be longer (`max_tokens`).
    """

    cached_up_to: int
    window: int | None
    max_tokens: int

    def check_length(self, tokens: int) -> None:
        """Raises ValueError if rows of so many tokens are too long."""
        if tokens > self.max_tokens:
            raise ValueError(
                f"rows of {tokens} tokens are too long for this model: beyond {self.max_tokens} its logits depend on "
                "how long the other rows are (RoPE scaled by length, or sparse attention). Make the env with "
                f"max_context_tokens={self.max_tokens}"
            )


_found: WeakKeyDictionary[PreTrainedModel, Compatibility] = WeakKeyDictionary()


def compatibility(model: PreTrainedModel) -> Compatibility:
    """How a model may be run. The first call tries it, in five to eight forwards of two short rows.

    Raises:
        ValueError: it is no causal language model whose head is a single matrix; the message says what differs.
    """
    if model not in _found:
        with quiet(), undisturbed(model):
            _found[model] = _try(model)
    return _found[model]


def max_tokens(config: PreTrainedConfig) -> int:
    """The length of row beyond which a model's logits depend on how long the other rows are.

    Rotary positions that are scaled by the longest row are others for all of them: "longrope" beyond the length of
    pretraining (Ding et al. 2024), "dynamic" beyond the context window. So is attention that chooses what it sees.
    """
    config = config.get_text_config()
    limits = [getattr(config, field) for field in CHOOSING_ATTENTION if getattr(config, field, None)]
    rope = getattr(config, "rope_parameters", None) or {}
    for parameters in (
        rope,
        *(kind for kind in rope.values() if isinstance(kind, dict)),
    ):  # or one for each kind of layer
        if parameters.get("rope_type") == "longrope":
            limits.append(parameters["original_max_position_embeddings"])
        elif "dynamic" in (parameters.get("rope_type") or ""):
            limits.append(config.max_position_embeddings)
    return min(limits, default=ANY_LENGTH)


def _try(model: PreTrainedModel) -> Compatibility:
    tokens = trial_tokens(model)  # (2, T), both rows whole
    own = _own_logits(model, tokens)  # (2, T, V)
    if not agree(own[0, :SHARED], own[1, :SHARED]):
        raise _refusal(model, "it is not causal: the logits after a token change with the tokens that follow it")
    _check_padded_rows(model, tokens, own)
    window, cached_up_to = _window(model, tokens, own)
    return Compatibility(cached_up_to, window, max_tokens(model.config))


def trial_tokens(model: PreTrainedModel) -> torch.Tensor:
    """(2, T) ids from all over the vocabulary, among them the one that pads: here it is a token like any other."""
    config = model.config.get_text_config()
    window = getattr(config, "max_position_embeddings", None)
    length = min(TOKENS, window) if isinstance(window, int) and window > 0 else TOKENS  # XLNet has -1 of them
    tokens = (torch.arange(2 * length) * 7919 + 11).view(2, length) % config.vocab_size
    pad = getattr(config, "pad_token_id", None)
    if isinstance(pad, int) and 0 <= pad < config.vocab_size:
        tokens[0, 1] = pad
    tokens[1, :SHARED] = tokens[0, :SHARED]
    return tokens.to(model.device)


def _own_logits(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    try:
        return model(input_ids=tokens, use_cache=False).logits
    except Exception as error:  # whatever an architecture asks for that is not here
        raise _refusal(model, f"its forward on tokens alone fails ({first_line(error)})") from error


def _check_padded_rows(model: PreTrainedModel, tokens: torch.Tensor, own: torch.Tensor) -> None:
    """Raises ValueError if the model's head on the hidden states of padded rows does not give its own logits."""
    padded, kept = tokens.clone(), max(1, tokens.shape[1] - 3)
    padded[1, kept:] = -1
    try:
        ours = lm_head(model, whole_rows(model, padded))
    except Exception as error:
        raise _refusal(model, f"it gives no hidden states that its head could take ({first_line(error)})") from error
    if not agree(ours[0], own[0]):
        raise _refusal(model, "its logits are not its output embeddings times its last hidden states")
    if not agree(ours[1, :kept], own[1, :kept]):
        raise _refusal(model, "the logits of a row change with the padding after it")


def _window(model: PreTrainedModel, tokens: torch.Tensor, own: torch.Tensor) -> tuple[int | None, int]:
    """How many tokens sliding layers see, and the length up to which rows may be cached.

    Whether a model obeys the window that its configuration names is tried with a window of a few tokens: one that does
    not look at it gives the very same numbers. (It may still have read it when it was made. Up to a window's length
    that makes no difference.)
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if not isinstance(window, int) or window < 1:
        return None, _cached_up_to(model, tokens, own, None, getattr(config, "window_size", None))  # the last: GPT-Neo
    few = 3 if window != 3 else 2
    config.sliding_window = few
    try:
        narrow = _own_logits(model, tokens)
        if not torch.equal(narrow, own):
            return window, _cached_up_to(model, tokens, narrow, few, None)
    finally:
        config.sliding_window = window
    return None, _cached_up_to(model, tokens, own, None, window)


def _cached_up_to(
    model: PreTrainedModel, tokens: torch.Tensor, own: torch.Tensor, window: int | None, at_most: int | None
) -> int:
    """`at_most` (None: any length) if rows that grow beside a cache get the model's own logits, else 0."""
    try:
        cached = all(agree(ours, own[rows, ends], cached=True) for ours, rows, ends in _grow(model, tokens, window))
        reason = "beside a cache its logits are not its own"
    except Exception as error:
        cached, reason = False, first_line(error)
    if not cached:
        log.warning(
            "%s cannot be run beside our key-value cache (%s): every token costs a whole row", model_name(model), reason
        )
        return 0
    return at_most or ANY_LENGTH


def _grow(
    model: PreTrainedModel, tokens: torch.Tensor, window: int | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Two rows beside a cache: logits (R, V), of which rows (R,), after which tokens (R,)."""
    length = tokens.shape[1]
    forward = CachedForward(model, 2, length, window)
    both, held = torch.arange(2, device=tokens.device), torch.zeros(2, dtype=torch.int64, device=tokens.device)
    for rows, lengths in (
        (both, (length - 3, 2)),  # two prompts
        (both[1:], (length - 3, length - 4)),  # a user answers in the second row
        (both, (length - 2, length - 3)),  # one token each
    ):
        ends = torch.tensor(lengths, device=tokens.device).clamp(1, length)
        new = int((ends - held).max().clamp(min=1))
        hidden = forward.run(tokens, ends, rows if len(rows) == 1 else None, new)
        yield lm_head(model, hidden), rows, ends[rows] - 1
        held = ends


def agree(ours: torch.Tensor, own: torch.Tensor, cached: bool = False) -> bool:
    """Whether logits differ by rounding only, as a share of the largest one.

    Beside a cache matrix products have other shapes and round otherwise: by 0.06 in SmolLM2 in bfloat16, and a GPU may
    round the factors of float32 products, too (TF32).
    """
    share = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 2e-3}.get(own.dtype, 0.02)
    if cached:
        share = max(10 * share, 1e-4 if own.device.type == "cpu" else 0.01)
    error = (ours.float() - own.float()).abs().max()
    return bool(error <= share * own.float().abs().max())  # False where something is NaN


@contextmanager
def undisturbed(model: PreTrainedModel) -> Iterator[None]:
    """Without gradients, dropout and reduced precision; modules are then in the mode they were in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _refusal(model: PreTrainedModel, difference: str) -> ValueError:
    return ValueError(
        f"{model_name(model)} cannot be used: {difference}. Take a causal language model whose head is a single "
        "matrix, as GPT-2, Llama or Qwen"
    )


def model_name(model: PreTrainedModel) -> str:
    path = model.config._name_or_path
    return f"the model {path!r} ({type(model).__name__})" if path else f"the model {type(model).__name__}"


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
