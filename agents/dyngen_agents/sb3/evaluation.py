"""From SB3's observations, in any of their forms, to a language model's hidden states, log-probs and entropies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.sb3.segments import Segments
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.engine.heads import hidden_states
from dyngen_env.lm.logprobs import logprobs_and_entropy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Observations = Tensor | dict[str, Tensor] | Segments


def token_rows(obs: Tensor | dict[str, Tensor]) -> Tensor:
    """Observations as tokens (B, L) int64, -1 where empty, from token rows or from the dict observation.

    Raises:
        ValueError: the observations are floats, which cannot be tokens.
    """
    parts = (obs["input_ids"], obs["attention_mask"]) if isinstance(obs, dict) else (obs,)
    if any(part.is_floating_point() for part in parts):
        raise ValueError(
            "observations are floats, expected tokens, which are integers: a wrapper such as VecNormalize scales them. "
            "Use VecNormalize(env, norm_obs=False), which scales rewards only"
        )
    if isinstance(obs, dict):
        return obs["input_ids"].long().masked_fill(obs["attention_mask"] == 0, -1)
    return obs.long()


def hidden_before_choice(lm: PreTrainedModel, obs: Observations) -> Tensor:
    """The hidden states (N, D) from which the next token of each of N steps is chosen. Gradients flow if enabled."""
    if isinstance(obs, Segments):
        return hidden_states(lm, obs.tokens)[obs.rows, obs.columns]
    tokens = token_rows(obs)
    lengths = (tokens >= 0).sum(1)
    rows = torch.arange(len(tokens), device=tokens.device)
    return hidden_states(lm, tokens[:, : int(lengths.max())])[rows, lengths - 1]


def states_before_choice(distribution: TokenDistribution, obs: Observations) -> Tensor | None:
    """The states (N,) of the token distribution before N choices (`TokenDistribution.states`); None if it has none."""
    if isinstance(obs, Segments):
        states = distribution.states(obs.tokens)
        return None if states is None else states[obs.rows, obs.columns]
    tokens = token_rows(obs)
    return distribution.state(tokens, (tokens >= 0).sum(1))


def evaluate(
    policy: CausalLMPolicy,
    hidden: Tensor,
    states: Tensor | None,
    actions: Tensor,
    action_masks: np.ndarray | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probs (N,) and entropies (N,) of the policy's choices, in nats.

    Args:
        hidden: (N, D) hidden states before the choices. states: (N,) see `states_before_choice`.
        actions: (N,) the tokens that were chosen. action_masks: (N, V), True where a token is allowed; None allows all.
    """
    if action_masks is None:
        return logprobs_and_entropy(hidden, actions.long(), states, policy.logits, entropy_gradient=True)
    logits = masked_logits(policy.logits(hidden, states), action_masks)
    choices = torch.distributions.Categorical(logits=logits, validate_args=False)
    return choices.log_prob(actions.long()), choices.entropy()


def masked_logits(logits: Tensor, action_masks: np.ndarray | Tensor | None) -> Tensor:
    """Logits (N, V), set to -inf where the action mask (N, V) is False or zero.

    Raises:
        ValueError: a row has no token left.
    """
    if action_masks is None:
        return logits
    allowed = torch.as_tensor(action_masks, device=logits.device).reshape(logits.shape).bool()
    masked = logits.masked_fill(~allowed, -torch.inf)
    stuck = (masked == -torch.inf).all(1)
    if stuck.any():
        row = int(stuck.nonzero()[0])
        raise ValueError(f"the action mask of row {row} allows no legal token: allow at least the end of the turn")
    return masked
