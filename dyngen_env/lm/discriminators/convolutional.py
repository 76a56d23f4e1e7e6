"""A convolutional discriminator: n-gram filters, their maximum over the text, a highway layer, log-odds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dyngen_env.lm.discriminators.discriminator import dropped, seeded


class ConvolutionalDiscriminator:
    """Kim 2014 ("Convolutional neural networks for sentence classification") with the highway layer of Srivastava et
    al. 2015, as in SeqGAN (Yu et al. 2017, sec. 3.3):

        c_k(p) = max over q ≤ p of relu(w_k · [e(x_{q-n+1}), ..., e(x_q)] + b_k)     (n tokens wide, 0 before the text)
        h = τ ⊙ relu(W_H c + b_H) + (1 - τ) ⊙ c,    τ = sigmoid(W_T c + b_T)
        log-odds = w · h + b

    The maximum runs over the prefix, so one pass gives the log-odds of all prefixes.

    Args:
        vocabulary: V, the number of token ids.
        embedding: width of the embeddings e.
        widths: the n, in tokens. filters: how many of each width.
        dropout: the share of h that is dropped while it learns.
        seed: of the first weights.
    """

    kind: ClassVar[str] = "convolutional"

    def __init__(
        self,
        vocabulary: int,
        embedding: int = 64,
        widths: Sequence[int] = (1, 2, 3, 4, 5),
        filters: int = 64,
        dropout: float = 0.25,
        seed: int = 0,
    ):
        self.settings = dict(
            vocabulary=vocabulary, embedding=embedding, widths=list(widths), filters=filters, dropout=dropout, seed=seed
        )
        self.widths, self.dropout = tuple(widths), dropout
        self.module: nn.ModuleDict = seeded(seed, lambda: _layers(vocabulary, embedding, self.widths, filters))

    def prefix_logits(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Discriminator`."""
        return self._log_odds(self._filtered(tokens).cummax(1).values, generator)

    def logits(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Discriminator`."""
        return self._log_odds(self._filtered(tokens).amax(1), generator)

    def _filtered(self, tokens: Tensor) -> Tensor:
        """The filters' answers (N, T, K) at each position, 0 in the padding: no answer is below it."""
        there = (tokens >= 0).unsqueeze(2)
        embedded = (self.module["embedding"](tokens.clamp(min=0)) * there).transpose(1, 2)  # (N, E, T)
        answers = [
            self.module[f"width {n}"](F.pad(embedded, (n - 1, 0))).relu()
            for n in self.widths  # causal: (N, k, T)
        ]
        return torch.cat(answers, 1).transpose(1, 2) * there

    def _log_odds(self, found: Tensor, generator: torch.Generator | None) -> Tensor:
        gate = self.module["gate"](found).sigmoid()
        mixed = gate * self.module["transform"](found).relu() + (1 - gate) * found
        return self.module["out"](dropped(mixed, self.dropout, generator)).squeeze(-1)


def _layers(vocabulary: int, embedding: int, widths: Sequence[int], filters: int) -> nn.ModuleDict:
    size = filters * len(widths)
    layers: dict[str, nn.Module] = {"embedding": nn.Embedding(vocabulary, embedding)}
    layers |= {f"width {n}": nn.Conv1d(embedding, filters, n) for n in widths}
    layers |= {"gate": nn.Linear(size, size), "transform": nn.Linear(size, size), "out": nn.Linear(size, 1)}
    nn.init.constant_(layers["gate"].bias, -2.0)  # type: ignore[arg-type]  # at first it carries (Srivastava et al.)
    return nn.ModuleDict(layers)
