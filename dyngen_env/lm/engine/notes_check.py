"""Whether a model can be run with notes: found by comparing its logits with and without one, once for each model."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from dyngen_env.lm.engine.compatibility import agree, compatibility, first_line, model_name, trial_tokens, undisturbed
from dyngen_env.lm.engine.forward import CachedForward, whole_rows
from dyngen_env.lm.engine.masks import AttentionMasks
from dyngen_env.lm.engine.notes import Notes, whole_rows_with_notes
from dyngen_env.lm.loading.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_found: WeakKeyDictionary[PreTrainedModel, AttentionMasks] = WeakKeyDictionary()


def masks_with_notes(model: PreTrainedModel, length: int) -> AttentionMasks:
    """The masks of a model whose rows of `length` tokens may have notes. The first call tries it on two short rows.

    Raises:
        ValueError: the model cannot be run with notes, or not with rows that long; the message says why.
    """
    how = compatibility(model)
    if length > how.cached_up_to:
        limit = f"with rows above {how.cached_up_to} tokens" if how.cached_up_to else "at all"
        raise _refusal(model, f"it cannot be run beside a key-value cache {limit}")
    if model not in _found:
        with quiet(), undisturbed(model):
            _found[model] = _try(model)
    return _found[model]


def _try(model: PreTrainedModel) -> AttentionMasks:
    tokens = trial_tokens(model)  # (2, T)
    length = tokens.shape[1]
    half, last = length // 2, length - 1
    # With room that is not needed: what depends on how many keys stand before a row shows by it.
    none = Notes.none(2, 2, 3, tokens.device)
    words, begins = none.tokens.clone(), none.begins.clone()
    words[:, 0, :2] = tokens[:, 1:3].flip(-1)
    begins[:, 0] = torch.tensor([half, last], device=tokens.device)
    notes = Notes(words, none.labels, begins)
    window = compatibility(model).window
    masks = AttentionMasks(model, window)
    try:
        ours = whole_rows_with_notes(model, tokens, notes, masks)
        forward = CachedForward(model, 2, length, window, (2, 3))
        forward.take_notes(notes, notes.present)
        ends = torch.tensor([length, last], device=tokens.device)
        cached = forward.run(tokens, ends, None, length)
        plain = whole_rows(model, tokens)
    except Exception as error:  # whatever an architecture asks for that is not here
        raise _refusal(model, f"its forward fails beside one ({first_line(error)})") from error
    if not (
        agree(ours[0, :half], plain[0, :half], cached=True) and agree(ours[1, :last], plain[1, :last], cached=True)
    ):
        raise _refusal(model, "a note that no token sees changes what it computes")
    if not agree(cached, ours[[0, 1], ends - 1], cached=True):
        raise _refusal(model, "beside a cache it attends to notes otherwise than in whole rows")
    if agree(ours[0, half:], plain[0, half:], cached=True):
        raise _refusal(model, "it does not attend to them")
    return masks


def _refusal(model: PreTrainedModel, reason: str) -> ValueError:
    return ValueError(
        f"{model_name(model)} cannot have a memory of notes: {reason}. Take a model that attends to all its tokens, as "
        "GPT-2, Llama or Qwen"
    )
