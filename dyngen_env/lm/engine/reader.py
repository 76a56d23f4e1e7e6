"""A frozen language model with a shared cache: wrappers that read the same token rows share one forward pass."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.heads import head_shape, lm_head
from dyngen_env.lm.loading.models import context_window, load_model, load_tokenizer
from dyngen_env.text.huggingface import adapted

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class LMReader:
    """A frozen language model that gives hidden states and likely next tokens of an env's rows.

    Args:
        lm: a model's name, or a model, whose weights must not change afterwards.
        vocabulary: V, how many tokens the env has.
        context: L, the env's `max_context_tokens`.
        device: where a model given by name runs.

    Raises:
        ValueError: the model has other tokens than the env, or its context window is shorter than the env's context.
    """

    def __init__(self, lm: str | PreTrainedModel, vocabulary: int, context: int, device: str = "cpu"):
        self.lm = lm
        self.model: PreTrainedModel = load_model(lm, device=device) if isinstance(lm, str) else lm.eval()
        self._engine = Engine(self.model)
        width, self.hidden_size = head_shape(self.model)  # V, D
        self._embeddings = cast("nn.Embedding", self.model.get_input_embeddings())
        self.embedding_size = self._embeddings.weight.shape[1]  # E
        known = len(adapted(load_tokenizer(lm))) if isinstance(lm, str) else min(width, vocabulary)
        if known != vocabulary:
            raise ValueError(
                f"lm {_name(lm)} has {known} tokens, env has {vocabulary}: give both the same model, "
                "gym.make(..., model=...)"
            )
        window = context_window(self.model.config)
        if context > window:
            raise ValueError(
                f"the env's max_context_tokens={context} exceeds the {window} tokens of lm {_name(lm)}: lower it"
            )
        # Two: in SAME_STEP each reader of a step looks at the rows as they ended, then at the rows as they go on.
        self._read: deque[tuple[np.ndarray, torch.Tensor]] = deque(maxlen=2)

    def hidden(self, tokens: np.ndarray) -> torch.Tensor:
        """Last-layer hidden states (B, D) at the last tokens of rows (B, L), -1 where empty.

        Rows that were read a moment ago, by another wrapper for example, are not run again.

        Raises:
            ValueError: the tokens are no NumPy array.
        """
        if not isinstance(tokens, np.ndarray):
            raise ValueError(
                f'expected arrays of tokens, got {type(tokens).__name__}: make the env with output="numpy"'
            )
        for seen, hidden in self._read:
            if np.array_equal(seen, tokens):
                return hidden
        rows = torch.from_numpy(tokens).to(self.model.device)
        hidden = self._engine.next_hidden(rows, (rows >= 0).sum(1))
        self._read.append((tokens.copy(), hidden))
        return hidden

    @torch.no_grad()
    def embeddings(self, ids: np.ndarray) -> np.ndarray:
        """The word embeddings (..., E) float32 of token ids (...), as the model reads them before any position."""
        where = torch.from_numpy(ids).to(self.model.device)
        return self._embeddings.weight[where].float().numpy(force=True)

    @torch.no_grad()
    def most_likely(self, tokens: np.ndarray, distribution: TokenDistribution, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k most likely next tokens of rows (B, L), most likely first.

        Args:
            tokens: (B, L) int64, -1 where empty.
            distribution: which tokens may follow; on the model's device.

        Returns:
            ids (B, k) int64 and log-probs (B, k) float32, normalised over all tokens that may be drawn.
        """
        raw = lm_head(self.model, self.hidden(tokens))
        rows = torch.from_numpy(tokens).to(raw.device)
        logprobs, ids = distribution.logits(raw, rows, (rows >= 0).sum(1)).log_softmax(-1).topk(k)
        return ids.numpy(force=True), logprobs.clamp(max=0.0).numpy(force=True)


def _name(lm: str | PreTrainedModel) -> str:
    return repr(lm) if isinstance(lm, str) else type(lm).__name__
