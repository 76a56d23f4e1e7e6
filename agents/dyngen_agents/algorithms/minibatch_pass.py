"""Gradient steps over a batch of episodes, minibatch by minibatch: what all algorithms with gradients share."""

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
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.engine.notes import Notes


@dataclass(frozen=True)
class Piece:
    """Some episodes of a minibatch, so few that one forward pass takes them, without padding that all of them have.

    Args:
        rows: (n,) int64, of the batch. width: tokens of the longest of them.
        tokens, episodes: how many count in the whole minibatch, of all pieces and processes.
        minibatch: how many came before it in this pass.
    """

    rows: Tensor
    width: int
    tokens: int
    episodes: int
    minibatch: int

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
    reference: Reference | None = None,
    value_gradient: bool = True,
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
        reference, value_gradient: see `CausalLMPolicy.evaluate`.
        processes: each is given the whole batch, and computes its share.

    Returns:
        the mean of each term over the tokens of all epochs; "grad_norm" before clipping; the "learning_rate" of the
        step that comes next; and "rollout_mismatch" and "rollout_mismatch_max", mean and largest |log π - log π_old|
        of a token of the first minibatch. No step has been taken there, so it is what the rollout computes otherwise
        than the update does: rounding, or a fault.

    Raises:
        FloatingPointError: a gradient is not finite; the last step taken was a good one.
    """
    mask = batch.completion_mask
    entropy_gradient = weights.get("entropy", 0.0) != 0
    mismatches: list[Tensor] = []  # of each piece of the first minibatch, see `_mismatch`
    compared = 0  # tokens of that minibatch

    def evaluate(tokens: Tensor, chosen: Tensor, notes: Notes | None = None) -> Evaluation:
        return policy.evaluate(tokens, chosen, entropy_gradient, reference, value_gradient, notes)

    def piece_terms(piece: Piece) -> dict[str, Tensor]:
        nonlocal compared
        completion_mask = piece.of(mask)
        new = batch.read(piece.rows, piece.width, evaluate)
        if piece.minibatch == 0:
            mismatches.append(_mismatch(new.logprobs, piece.of(batch.logprobs), completion_mask))
            compared = piece.tokens
        return token_terms(new, piece)

    metrics = gradient_pass(
        optimizer,
        batch,
        piece_terms,
        weights,
        seed=seed,
        epochs=epochs,
        minibatch_size=minibatch_size,
        max_tokens=max_tokens,
        processes=processes,
    )
    return metrics | _mismatch_metrics(mismatches, compared, processes)


def gradient_pass(
    optimizer: PolicyOptimizer,
    batch: Trajectories,
    piece_terms: Callable[[Piece], dict[str, Tensor]],
    weights: dict[str, float],
    *,
    seed: int,
    epochs: int = 1,
    minibatch_size: int | None = None,
    max_tokens: int = 4096,
    after_step: Callable[[], None] = lambda: None,
    processes: Processes = SINGLE_PROCESS,
) -> dict[str, float]:
    """`minibatch_pass` for those whose terms come of another forward pass than the policy's.

    Args:
        piece_terms: the forward pass, and the terms (n, width) that come of it. after_step: called after each step.

    Returns:
        as `minibatch_pass`, without the mismatch. Raises FloatingPointError as that.
    """
    mask = batch.completion_mask
    # What decides on the pieces is read once: on a GPU every other read would wait for all that is under way.
    lengths, chosen = torch.stack([batch.lengths, batch.completion_lengths]).cpu()
    generator = torch.Generator().manual_seed(seed)
    means: list[Tensor] = []  # of each piece, (terms,)
    counts: list[int] = []  # tokens of its minibatch
    names: list[str] = []
    norms: list[float] = []
    for _ in range(epochs):
        for rows in minibatches(len(batch), minibatch_size or len(batch), generator):
            rows = rows[chosen[rows] > 0]
            if not len(rows):
                continue
            tokens = int(chosen[rows].sum())
            for some in by_length(processes.share(rows), lengths, max_tokens):
                piece = Piece(some.to(mask.device), int(lengths[some].max()), tokens, len(rows), len(norms))
                terms, counted = piece_terms(piece), piece.of(mask)
                of_piece = {name: masked_sum_over(x, counted, tokens) for name, x in terms.items()}
                loss: Tensor = sum(weight * of_piece[name] for name, weight in weights.items())  # type: ignore[assignment]
                optimizer.backward(loss)
                names = list(of_piece)
                means.append(torch.stack([mean.detach() for mean in of_piece.values()]))
                counts.append(tokens)
            norms.append(optimizer.step())
            after_step()
    sums = dict.fromkeys(names, 0.0)
    for values, tokens in zip(torch.stack(means).tolist() if means else [], counts, strict=True):
        for name, value in zip(names, values, strict=True):
            sums[name] += value * tokens
    total = int(chosen.sum()) * epochs
    metrics = {name: value / total for name, value in processes.total(sums).items()}
    grad_norm = sum(norms) / len(norms) if norms else 0.0
    return metrics | {"grad_norm": grad_norm, "learning_rate": optimizer.rate()}


@torch.no_grad()
def _mismatch(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """[sum, largest] of |log π - log π_old| where the mask is True; all (n, width)."""
    change = torch.where(mask, (logprobs - old_logprobs).abs(), 0.0)
    return torch.stack([change.sum(), change.max()])


def _mismatch_metrics(pieces: list[Tensor], tokens: int, processes: Processes) -> dict[str, float]:
    """Mean and largest of a minibatch's |log π - log π_old|, from those of this process's pieces (`_mismatch`).

    tokens: of the whole minibatch; 0 if this process has no piece of it.
    """
    sums, largest = zip(*torch.stack(pieces).tolist(), strict=True) if pieces else ((0.0,), (0.0,))
    told = processes.exchange((sum(sums), max(largest), float(tokens)))
    return {
        "rollout_mismatch": sum(each[0] for each in told) / max(1.0, *(each[2] for each in told)),
        "rollout_mismatch_max": max(each[1] for each in told),
    }
