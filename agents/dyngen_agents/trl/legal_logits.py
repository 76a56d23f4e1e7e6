"""Logits over the tokens that may be written: what TRL's loss computes log-probs from is what the rollout drew from."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

NEVER = -1e4  # e^-10000 is 0 in any dtype; -inf would make 0 · -inf in an entropy no number at all


def keep_to_legal_tokens(model: nn.Module, legal: Tensor) -> None:
    """Give `model` a hook that sets the logits of all tokens but the legal ones to -10,000.

    TRL takes the softmax over the whole vocabulary, of which a rollout draws legal tokens only. Without the hook its
    loss would also raise what is chosen above tokens that cannot be.

    Args:
        legal: (V,) bool; logits beyond V, of a wider head, are set, too.
    """
    model.register_forward_hook(partial(_without_illegal, legal))


def _without_illegal(legal: Tensor, model: nn.Module, args: Any, output: Any) -> Any:
    logits = output.logits
    if logits is not None:  # a fused loss computes none
        illegal = nn.functional.pad(~legal.to(logits.device), (0, logits.shape[-1] - len(legal)), value=True)
        output.logits = logits.masked_fill(illegal, NEVER)
    return output
