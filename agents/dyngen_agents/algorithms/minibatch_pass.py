"""Gradient steps over a batch of episodes, minibatch by minibatch: what all policy-gradient algorithms share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dyngen_agents.algorithms.optimizer import PolicyOptimizer
from dyngen_agents.data.trajectories import Trajectories, by_length, minibatches
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.functional.losses import masked_sum_over
from dyngen_agents.policy.causal_lm import CausalLMPolicy, Evaluation


@dataclass(frozen=True)
class Piece:
    """Some episodes of a minibatch, so few that one forward pass takes them, without padding that all of them have.

    Args:
        rows: (n,) int64, of the batch. width: tokens of the longest of them.
        tokens, episodes: how many count in the whole minibatch, of all pieces and processes.
    """

    rows: Tensor
    width: int
    tokens: int
    episodes: int

    def of(self, x: Tensor) -> Tensor:
        """The piece's part (n, width) of something (N, L) that is aligned with the batch."""
        return x[self.rows, : self.width]


TokenTerms = Callable[[Evaluation, Piece], dict[str, Tensor]]
"""What the policy now thinks of a piece's tokens -> the loss's terms and other things to report, (n, width) each."""


def minibatch_pass(
    policy: CausalLMPolicy,
    optimizer: PolicyOptimizer,
    batch: Trajectories,
    token_terms: TokenTerms,
    weights: dict[str, float],
    *,
    seed: int,
    epochs: int = 1,
    minibatch_size: int | None = None,
    max_tokens: int = 4096,
    processes: Processes = SINGLE_PROCESS,
) -> dict[str, float]:
    """Minimise Σ w · mean(term) over a batch, by one step of the optimizer for each minibatch of each epoch.

    The mean is over the chosen tokens of the whole minibatch, so that neither padding nor the split into pieces and
    processes changes a gradient. Episodes without a True in `batch.completion_mask` take no part; a minibatch of
    nothing else makes no step.

    Args:
        token_terms: see `TokenTerms`.
        weights: of those terms that make the loss, by name; the others are only reported. Entropies carry gradients,
            which costs time, only if "entropy" has a weight.
        seed: of the epochs' permutations.
        minibatch_size: episodes of a gradient step; None is all of them.
        max_tokens: padded tokens of one forward pass.
        processes: each is given the whole batch, and computes its share.

    Returns:
        the mean of each term over the tokens of all epochs, "grad_norm" before clipping, and the "learning_rate" of
        the step that comes next.

    Raises:
        FloatingPointError: a gradient is not finite; the last step taken was a good one.
    """
    mask, lengths = batch.completion_mask, batch.lengths
    counts = mask.any(1)
    entropy_gradient = weights.get("entropy", 0.0) != 0
    generator = torch.Generator().manual_seed(seed)
    sums: dict[str, float] = {}
    norms = []
    for _ in range(epochs):
        for rows in minibatches(len(batch), minibatch_size or len(batch), generator):
            rows = rows.to(mask.device)
            rows = rows[counts[rows]]
            if not len(rows):
                continue
            tokens = int(mask[rows].sum())
            for some in by_length(processes.share(rows), lengths, max_tokens):
                piece = Piece(some, int(lengths[some].max()), tokens, len(rows))
                completion_mask = piece.of(mask)
                new = policy.evaluate(piece.of(batch.tokens), completion_mask, entropy_gradient)
                terms = token_terms(new, piece)
                means = {name: masked_sum_over(x, completion_mask, tokens) for name, x in terms.items()}
                loss: Tensor = sum(weight * means[name] for name, weight in weights.items())  # type: ignore[assignment]
                loss.backward()
                for name, mean in means.items():
                    sums[name] = sums.get(name, 0.0) + float(mean.detach()) * tokens
            norms.append(optimizer.step())
    total = int(mask.sum()) * epochs
    metrics = {name: value / total for name, value in processes.total(sums).items()}
    grad_norm = sum(norms) / len(norms) if norms else 0.0
    return metrics | {"grad_norm": grad_norm, "learning_rate": optimizer.rate()}
