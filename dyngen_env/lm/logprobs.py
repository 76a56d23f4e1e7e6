"""Log-probs of given tokens, entropies and divergences of distributions, without ever holding all logits at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.engine.heads import hidden_states, lm_head
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.lm.logit_chunks import logit_chunks

if TYPE_CHECKING:
    from transformers import PreTrainedModel


LogitsOf = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


class TokenScores(NamedTuple):
    """What a distribution says of M tokens, and how far it is from another one there; float32, nats."""

    logprobs: torch.Tensor  # (M,)
    entropies: torch.Tensor  # (M,)
    kls: torch.Tensor  # (M,), zero where there is no other distribution


def token_scores(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    states: torch.Tensor | None,
    logits_of: LogitsOf,
    entropy_gradient: bool = False,
    ref_hidden: torch.Tensor | None = None,
    ref_logits_of: LogitsOf | None = None,
) -> TokenScores:
    """Log-probs of M tokens, entropies of their distributions, and the exact KL divergence from a reference's there:

        KL(π(·|s)‖π_ref(·|s)) = Σ_a π(a|s) (log π(a|s) − log π_ref(a|s))

    A chunk of the (M, V) logits is held at a time; how large it is depends on the device (`lm.logit_chunks`). Against
    log π − log π_ref at the one sampled token, the sum over the vocabulary has no sampling noise and a gradient of its
    own. Amini, Vieira & Cotterell 2025 ("Better Estimation of the KL Divergence Between Language Models") call its sum
    over the prefixes of a sampled text the Rao-Blackwellised estimate of the divergence between texts.

    Args:
        hidden: (M, D) hidden states, each the one before its token.
        targets: (M,) int64.
        states: (M,) what the distribution must know at each token (`TokenDistribution.states`); None: nothing.
        logits_of: (m, D) and (m,) of these -> (m, V), warped; if there are many, the backward pass computes them again.
        entropy_gradient: whether the entropies carry gradients; they cost three more passes over (M, V).
        ref_hidden, ref_logits_of: (M, D') hidden states of the reference, and what makes its logits of them, -inf at
            the same tokens. They get no gradient. None: no divergence is computed.
    """
    if not len(targets):
        return TokenScores(*(hidden.new_zeros(0, dtype=torch.float32) for _ in range(3)))
    with torch.no_grad():
        width = logits_of(hidden[:1], None if states is None else states[:1]).shape[-1]
    chunks = logit_chunks(hidden.device)
    step = max(1, chunks.computed // width)
    parts = []
    for start in range(0, len(targets), step):
        part = slice(start, start + step)
        here = None if states is None else states[part]
        ref_logits = None
        if ref_hidden is not None and ref_logits_of is not None:
            ref_logits = partial(ref_logits_of, ref_hidden[part], here)
        arguments = (hidden[part], targets[part], here, logits_of, entropy_gradient, max(1, chunks.entropy // width))
        if torch.is_grad_enabled() and len(targets) * width > chunks.kept:
            parts.append(checkpoint(_chunk, *arguments, ref_logits, use_reentrant=False))
        else:
            parts.append(_chunk(*arguments, ref_logits))
    return TokenScores(*(torch.cat(x) for x in zip(*parts, strict=True)))


def logprobs_and_entropy(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    states: torch.Tensor | None,
    logits_of: LogitsOf,
    entropy_gradient: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs (M,) and entropies (M,) as `token_scores`, without a reference."""
    scores = token_scores(hidden, targets, states, logits_of, entropy_gradient)
    return scores.logprobs, scores.entropies


def _chunk(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    states: torch.Tensor | None,
    logits_of: LogitsOf,
    entropy_gradient: bool,
    entropy_rows: int,
    ref_logits: Callable[[], torch.Tensor] | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logp = logits_of(hidden, states).log_softmax(-1)  # (m, V)
    if entropy_gradient:
        # 0 log 0 = 0: tokens that cannot be drawn add nothing to the entropy, and no NaN to its gradient.
        entropy = -(logp.exp() * logp.masked_fill(logp == -torch.inf, 0.0)).sum(-1)
    else:
        entropy = _entropy(logp.detach(), entropy_rows)
    if ref_logits is None:
        kl = torch.zeros_like(entropy)
    else:
        with torch.no_grad():
            ref_logp = ref_logits().log_softmax(-1)
        kl = (logp.exp() * (logp - ref_logp).masked_fill(logp == -torch.inf, 0.0)).sum(-1)
    return logp.gather(1, targets.unsqueeze(1)).squeeze(1), entropy, kl


def _entropy(logp: torch.Tensor, rows: int) -> torch.Tensor:
    """(m,) entropies of log-probs (m, V), some rows at a time: on a CPU few are six times faster than all of them."""
    parts = [part.exp().mul_(part).nansum(-1) for part in logp.split(rows)]  # 0 log 0 is NaN here, and counts as 0
    return -torch.cat(parts)


@torch.no_grad()
def completion_logprobs(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    completion_mask: torch.Tensor,
    distribution: TokenDistribution,
    notes: Notes | None = None,
) -> torch.Tensor:
    """Log-probs (N, T) of the tokens where `completion_mask` (N, T) is True, zero elsewhere.

    Args:
        tokens: (N, T) int64, right-padded with -1; a chosen token is never the first of its row.
        distribution: the one that the tokens are scored under; `PLAIN` is the model's own softmax.
        notes: what the model attends to beside the tokens, labels apart.
    """
    rows, columns = completion_mask.nonzero(as_tuple=True)
    hidden = hidden_states(model, tokens[:, :-1], notes)[rows, columns - 1]  # nothing is asked after the last token
    states = distribution.states(tokens)
    logprobs, _ = logprobs_and_entropy(
        hidden,
        tokens[rows, columns],
        None if states is None else states[rows, columns - 1],
        lambda h, state: distribution.warp(lm_head(model, h), state),
    )
    out = torch.zeros(tokens.shape, device=tokens.device)
    out[rows, columns] = logprobs
    return out
