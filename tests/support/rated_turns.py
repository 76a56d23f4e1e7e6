"""Rated turns over bytes, and a tiny model that learns from them live."""

from __future__ import annotations

import torch

from dyngen_agents.feedback.live import LiveConfig, LiveLearner, RatedTurn
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.engine.heads import hidden_states, lm_head
from dyngen_env.mdp.rules import legal_tokens
from dyngen_env.text.tokenizer import ByteTokenizer
from tests.support.small import small_lm

BYTES = ByteTokenizer()
SMALL = LiveConfig(every=2, steps=3, learning_rate=1e-2, kl_coef=0.0, last_layers=1, context_tokens=24, note_tokens=8)


def rated_turn(number: int, text: str = "good", rating: float | None = 4.0, prompt: str = "hi", **more) -> RatedTurn:
    """A turn, which its end closes, after an opening."""
    given = {"person": "ann", "feedback": (f"f{number}",)} | more
    context, tokens = (*BYTES.encode_opening(prompt),), (*BYTES.encode(text), BYTES.end_id)
    return RatedTurn(turn=number, context=context, tokens=tokens, rating=rating, **given)


def live_learner(config: LiveConfig = SMALL, **options) -> LiveLearner:
    return LiveLearner(CausalLMPolicy(small_lm(spread=0.1), TokenDistribution.of(BYTES)), BYTES, config, **options)


@torch.no_grad()
def token_logprobs(lm, context, turn) -> torch.Tensor:
    """(m, V) log-probs before each of the m tokens of a turn, by a plain softmax over the legal tokens."""
    legal = torch.from_numpy(legal_tokens(BYTES))
    logits = lm_head(lm, hidden_states(lm, torch.tensor([[*context, *turn]])))[0, len(context) - 1 : -1, : len(legal)]
    return logits.masked_fill(~legal, -torch.inf).log_softmax(-1)


def logprob(lm, turn: RatedTurn, tokens: tuple[int, ...] | None = None) -> float:
    """log π of a turn, or of other tokens in its place."""
    written = turn.tokens if tokens is None else tokens
    return float(token_logprobs(lm, turn.context, written).gather(1, torch.tensor(written).unsqueeze(1)).sum())
