"""The exact Kullback-Leibler divergence of two models' next-token distributions, a chunk of logits at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from dyngen_env.lm.logit_chunks import logit_chunks

LogitsOf = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


def next_token_kl(
    hidden: torch.Tensor,
    ref_hidden: torch.Tensor,
    states: torch.Tensor | None,
    logits_of: LogitsOf,
    ref_logits_of: LogitsOf,
) -> torch.Tensor:
    """KL(π(·|s)‖π_ref(·|s)) = Σ_a π(a|s) (log π(a|s) − log π_ref(a|s)) of M states, summed over the whole vocabulary.

    Against the estimate log π − log π_ref at one sampled token it has no sampling noise and a gradient of its own.
    Amini, Vieira & Cotterell 2025 ("Better Estimation of the KL Divergence Between Language Models") call its sum over
    sampled prefixes the Rao-Blackwellised estimate of the divergence between texts.

    Args:
        hidden, ref_hidden: (M, D) and (M, D') last hidden states of the two models in the same states.
        states: (M,) what the distribution must know of each (`TokenDistribution.states`); None: nothing.
        logits_of, ref_logits_of: (m, D) and (m,) of these -> (m, V), warped, -inf at the same tokens in both. The first
            carries gradients; where the logits are many, the backward pass computes them again.

    Returns:
        (M,) float32, nats, with gradients of `hidden` and of what `logits_of` uses.
    """
    if not len(hidden):
        return hidden.new_zeros(0, dtype=torch.float32)
    with torch.no_grad():
        width = logits_of(hidden[:1], None if states is None else states[:1]).shape[-1]
    chunks = logit_chunks(hidden.device)
    step = max(1, chunks.computed // width)
    parts = []
    for start in range(0, len(hidden), step):
        part = slice(start, start + step)
        here = None if states is None else states[part]
        arguments = (hidden[part], ref_hidden[part], here, logits_of, ref_logits_of)
        if torch.is_grad_enabled() and len(hidden) * width > chunks.kept:
            parts.append(checkpoint(_chunk, *arguments, use_reentrant=False))
        else:
            parts.append(_chunk(*arguments))
    return torch.cat(parts)


def _chunk(
    hidden: torch.Tensor,
    ref_hidden: torch.Tensor,
    states: torch.Tensor | None,
    logits_of: LogitsOf,
    ref_logits_of: LogitsOf,
) -> torch.Tensor:
    logp = logits_of(hidden, states).float().log_softmax(-1)  # (m, V)
    with torch.no_grad():
        ref_logp = ref_logits_of(ref_hidden, states).float().log_softmax(-1)
    # 0 log 0 = 0: tokens that cannot be drawn add nothing, and no NaN to the gradient.
    return (logp.exp() * (logp - ref_logp).masked_fill(logp == -torch.inf, 0.0)).sum(-1)
