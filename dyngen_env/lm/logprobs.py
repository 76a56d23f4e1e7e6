"""The distribution over the next token, and the log-probs of tokens under it.

`warp_logits` is the only place where logits become a distribution: acting, evaluating and the reference use it alike,
so a log-prob stored at sampling equals the one computed in the update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from dyngen_env.lm.engine.heads import hidden_states, lm_head
from dyngen_env.mdp.banned import BannedWords

CHUNK_ELEMENTS = 2**21  # logits computed at a time: 8 MB in float32, which allocators reuse without page faults
KEPT_ELEMENTS = 2**24  # logits kept for the backward pass; if there are more, it computes them again
CACHED_ELEMENTS = 2**18  # as many stay in a core's cache from one elementwise pass to the next


def warp_logits(
    logits: torch.Tensor,
    legal: torch.Tensor | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> torch.Tensor:
    """Logits of the distribution that is sampled from: float32, -inf where a token cannot be drawn.

    Args:
        logits: (..., W) raw, W >= V: a model's head may be wider than the tokenizer.
        legal: (V,) or (..., V) bool, None where every token is.
        temperature: > 0; logits are divided by it.
        top_k: keep the k most likely tokens (Fan et al. 2018); 0 keeps all.
        top_p: keep the smallest set of most likely tokens with at least this mass (Holtzman et al. 2020); 1 keeps all.

    Returns:
        (..., V) float32, not normalised.
    """
    if legal is not None:
        # Adding -inf does what masked_fill does, and costs the backward pass nothing.
        penalty = torch.zeros(legal.shape, device=legal.device).masked_fill_(~legal, -torch.inf)
        logits = logits[..., : legal.shape[-1]].float() + penalty
    logits = logits.float() / temperature if temperature != 1.0 else logits.float()
    if top_k and top_k < logits.shape[-1]:
        smallest = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= top_p  # the token that crosses the mass stays
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
    return logits


def logprobs_and_entropy(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    logits_of: Callable[..., torch.Tensor],
    entropy_gradient: bool = False,
    given: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs of M tokens and the entropies of their distributions, a chunk of the (M, V) logits at a time.

    Args:
        hidden: (M, D) hidden states, each the one before its token.
        targets: (M,) int64.
        logits_of: (m, D) -> (m, V), the warped logits; if there are many, the backward pass computes them again.
        entropy_gradient: whether the entropies carry gradients; they cost three more passes over (M, V).
        given: (M, ...) what else `logits_of` takes, by row.

    Returns:
        logprobs (M,) and entropies (M,) in nats, float32.
    """
    if not len(targets):
        return hidden.new_zeros(0), hidden.new_zeros(0)
    with torch.no_grad():
        width = logits_of(hidden[:1], *([] if given is None else [given[:1]])).shape[-1]
    step = max(1, CHUNK_ELEMENTS // width)
    parts = []
    for start in range(0, len(targets), step):
        part = slice(start, start + step)
        more = () if given is None else (given[part],)
        arguments = (hidden[part], targets[part], logits_of, entropy_gradient, *more)
        if torch.is_grad_enabled() and len(targets) * width > KEPT_ELEMENTS:
            parts.append(checkpoint(_chunk, *arguments, use_reentrant=False))
        else:
            parts.append(_chunk(*arguments))
    logprobs, entropies = zip(*parts, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def _chunk(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    logits_of: Callable[..., torch.Tensor],
    entropy_gradient: bool,
    *given: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    logp = logits_of(hidden, *given).log_softmax(-1)  # (m, V)
    if entropy_gradient:
        # 0 log 0 = 0: tokens that cannot be drawn add nothing to the entropy, and no NaN to its gradient.
        entropy = -(logp.exp() * logp.masked_fill(logp == -torch.inf, 0.0)).sum(-1)
    else:
        entropy = _entropy(logp.detach())
    return logp.gather(1, targets.unsqueeze(1)).squeeze(1), entropy


def _entropy(logp: torch.Tensor) -> torch.Tensor:
    """(m,) entropies of log-probs (m, V), a few rows at a time: six times faster than passes over all of them."""
    rows = max(1, CACHED_ELEMENTS // logp.shape[-1])
    parts = [part.exp().mul_(part).nansum(-1) for part in logp.split(rows)]  # 0 log 0 is NaN here, and counts as 0
    return -torch.cat(parts)


@torch.no_grad()
def completion_logprobs(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    completion_mask: torch.Tensor,
    legal: torch.Tensor | None = None,
    banned: BannedWords | None = None,
    **warp: Any,
) -> torch.Tensor:
    """Log-probs (N, T) of the tokens where `completion_mask` (N, T) is True, zero elsewhere.

    Args:
        tokens: (N, T) int64, right-padded with -1; a chosen token is never the first of its row.
        legal, warp: arguments of `warp_logits`; none of them means the model's own softmax.
        banned: words that no token may complete.
    """
    rows, columns = completion_mask.nonzero(as_tuple=True)
    hidden = hidden_states(model, tokens[:, :-1])[rows, columns - 1]  # nothing is asked after the last token

    def logits(h: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        here = legal
        if banned is not None and state is not None:
            here = banned.allowed(state) if legal is None else legal & banned.allowed(state)
        return warp_logits(lm_head(model, h), here, **warp)

    states = None if banned is None else banned.states(tokens)[rows, columns - 1]
    logprobs, _ = logprobs_and_entropy(hidden, tokens[rows, columns], logits, given=states)
    out = torch.zeros(tokens.shape, device=tokens.device)
    out[rows, columns] = logprobs
    return out
