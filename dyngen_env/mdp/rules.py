"""What each token of a tokenizer does to an episode: text goes on, end tokens and stop strings end the turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from dyngen_env.mdp.automaton import Automaton
from dyngen_env.mdp.dynamics import Rules
from dyngen_env.mdp.state import ILLEGAL, LIVE, STOP
from dyngen_env.text.tokenizer import Tokenizer


def token_rules(
    tokenizer: Tokenizer, stop: str | Sequence[str], max_new_tokens: int, device: torch.device
) -> tuple[Rules, tuple[bytes, ...]]:
    """What each token of a tokenizer does to a turn, and the stop strings in UTF-8.

    Args:
        stop: strings that end a turn as soon as they stand in it, also across the borders of tokens.
        max_new_tokens: how many tokens a turn may have.
        device: where the tables lie.

    Raises:
        ValueError: a stop string is empty, or no text.
    """
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, Iterable) or not all(isinstance(s, str) and s for s in strings):
        raise ValueError(f"stop strings must be non-empty text, got {stop!r}")
    encoded = tuple(s.encode("utf-8", "replace") for s in strings)
    next_state, hit = Automaton(encoded).over_tokens(tokenizer.token_bytes)
    outcome = np.where(hit, STOP, LIVE)
    outcome[:, ~legal_tokens(tokenizer)] = ILLEGAL
    outcome[:, sorted(tokenizer.end_ids)] = STOP
    return Rules(
        outcome=torch.from_numpy(outcome).to(device),
        stop_next=torch.from_numpy(next_state).to(device, torch.int64),
        max_new_tokens=max_new_tokens,
    ), encoded


def legal_tokens(tokenizer: Tokenizer) -> np.ndarray:
    """(V,) bool: the tokens that an agent may choose: text and ends of turns, but not BOS, PAD or role tokens."""
    legal = np.ones(len(tokenizer), dtype=bool)
    legal[sorted(tokenizer.control_ids - tokenizer.end_ids)] = False
    return legal


def ended_by_agent(tokens: torch.Tensor, completion_mask: torch.Tensor, rules: Rules) -> torch.Tensor:
    """(N,) bool: whether the last turn of each episode ended by a token of the agent's, one that completes a stop
    string included, and not by a limit.

    Args:
        tokens: (N, L) int64, whole episodes. completion_mask: (N, L) bool, True where the agent chose the token.
    """
    vocabulary = rules.outcome.shape[1]
    state = torch.zeros_like(tokens[:, 0])
    ended = torch.zeros_like(state, dtype=torch.bool)
    for token, chosen in zip(tokens.unbind(1), completion_mask.unbind(1), strict=True):
        index = torch.where(chosen, state * vocabulary + token, 0)
        ended = torch.where(chosen, rules.outcome.take(index) == STOP, ended)
        state = torch.where(chosen, rules.stop_next.take(index), 0)  # what the user says begins another turn
    return ended
