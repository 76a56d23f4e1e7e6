"""A causal language model as a policy: act (cached, one token a row) and evaluate (one forward for all tokens)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dyngen_agents.policy.sampling_config import SamplingConfig
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.heads import hidden_states, lm_head
from dyngen_env.lm.logprobs import logprobs_and_entropy, warp_logits
from dyngen_env.lm.sampling import greedy, sample
from dyngen_env.mdp.banned import BannedWords


class Action(NamedTuple):
    """What the policy does in B rows."""

    tokens: Tensor  # (B,) int64
    logprobs: Tensor  # (B,) float32, of the behaviour distribution
    values: Tensor  # (B,) float32


class Evaluation(NamedTuple):
    """What the policy thinks of given choices; zero where `completion_mask` is False."""

    logprobs: Tensor  # (N, T) float32
    values: Tensor  # (N, T) float32, V before each choice
    entropies: Tensor  # (N, T) float32, nats


class CausalLMPolicy(nn.Module):
    """A language model with a value head on its trunk, so that one forward gives both.

    Args:
        lm: any causal LM of transformers. Dropout stays off: it would cost 0.3 nats of log-prob mismatch.
        legal: (V,) bool, the env's legal tokens; others get probability zero. V may be less than the head is wide.
        sampling: the distribution.
        banned: the env's banned words: tokens that would complete one get probability zero, too.

    Raises:
        ValueError: the model's head is narrower than V.
    """

    def __init__(
        self,
        lm: PreTrainedModel,
        legal: Tensor,
        sampling: SamplingConfig | None = None,
        banned: BannedWords | None = None,
    ):
        super().__init__()
        width = lm.get_output_embeddings().weight.shape[0]
        if width < len(legal):
            raise ValueError(f"policy has {width} tokens, env has {len(legal)}: give both the same model")
        self.lm = lm
        self.sampling, self.banned = sampling or SamplingConfig(), banned
        # Zero at first: V = 0 until something was learned (Huang et al. 2023).
        self.value_head = nn.Linear(lm.config.get_text_config().hidden_size, 1, device=lm.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self.legal: Tensor
        self.register_buffer("legal", legal.to(lm.device), persistent=False)
        self.engine = Engine(lm)
        self.train(False)

    def train(self, mode: bool = True) -> CausalLMPolicy:
        """Never switches dropout on; gradients flow in any mode."""
        return super().train(False)

    def logits(self, hidden: Tensor, state: Tensor | None = None) -> Tensor:
        """Warped logits (..., V) of hidden states (..., D); exp of their log-softmax is the policy.

        Args:
            state: (...) of `banned`, after the same tokens; None bans nothing.
        """
        s = self.sampling
        legal = self.legal if self.banned is None or state is None else self.legal & self.banned.allowed(state)
        return warp_logits(lm_head(self.lm, hidden), legal, s.temperature, s.top_k, s.top_p)

    def value(self, hidden: Tensor) -> Tensor:
        """V (...) of hidden states (..., D)."""
        return self.value_head(hidden.to(self.value_head.weight.dtype)).squeeze(-1).float()

    @torch.no_grad()
    def act(self, tokens: Tensor, lengths: Tensor, uniform: Tensor | None) -> Action:
        """Choose the next token of each row.

        Args:
            tokens: (B, L) int64, right-padded with -1. lengths: (B,) int64.
            uniform: (B,) float32 in [0, 1), the randomness; None is greedy.
        """
        hidden = self.engine.next_hidden(tokens, lengths)
        logits = self.logits(hidden, None if self.banned is None else self.banned.state(tokens, lengths))
        chosen, logprobs = greedy(logits) if uniform is None else sample(logits, uniform)
        return Action(chosen, logprobs, self.value(hidden))

    def evaluate(self, tokens: Tensor, completion_mask: Tensor, entropy_gradient: bool = False) -> Evaluation:
        """Log-probs, values and entropies of the chosen tokens, by one forward pass over the sequences.

        Args:
            tokens: (N, T) int64, right-padded with -1. completion_mask: (N, T) bool, never True at position 0.
            entropy_gradient: whether the entropies carry gradients, which costs time.
        """
        rows, columns = completion_mask.nonzero(as_tuple=True)
        # Nothing is asked after the last token.
        hidden = hidden_states(self.lm, tokens[:, :-1])[rows, columns - 1]  # (M, D), before each choice
        states = None if self.banned is None else self.banned.states(tokens)[rows, columns - 1]
        logprobs, entropies = logprobs_and_entropy(hidden, tokens[rows, columns], self.logits, entropy_gradient, states)
        zeros = torch.zeros(tokens.shape, device=tokens.device)
        return Evaluation(*(zeros.index_put((rows, columns), x) for x in (logprobs, self.value(hidden), entropies)))
