"""Whole-batch forward passes without gradients, in pieces of similar length."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dyngen_agents.data.trajectories import Trajectories, by_length
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.engine.notes import Notes


@torch.no_grad()
def map_in_batches(
    function: Callable[..., Tensor],
    batch: Trajectories,
    max_tokens: int,
    processes: Processes = SINGLE_PROCESS,
) -> Tensor:
    """function(tokens (n, t), completion_mask (n, t)) -> (n, t), over all episodes: (N, L), zero in the padding.

    Of a batch with notes, function(tokens, completion_mask, notes), see `Trajectories.notes_of`.

    The `processes` share the work, and each gets all of the result.
    """
    device = batch.tokens.device
    out = torch.zeros(batch.tokens.shape, device=device)
    lengths = batch.lengths.cpu()  # read once: on a GPU every other read would wait for the forwards under way
    for rows in by_length(processes.share(torch.arange(len(batch))), lengths, max_tokens):
        piece, width = rows.to(device), int(lengths[rows].max())
        out[piece, :width] = batch.read(piece, width, function)
    processes.add([out])  # zero where another process filled it in
    return out


def entropies_of(
    policy: CausalLMPolicy, batch: Trajectories, max_tokens: int, processes: Processes = SINGLE_PROCESS
) -> Tensor:
    """(N, L): the policy's entropy at each choice, in nats; zero elsewhere."""

    def entropies(tokens: Tensor, completion_mask: Tensor, notes: Notes | None = None) -> Tensor:
        return policy.evaluate(tokens, completion_mask, notes=notes).entropies

    return map_in_batches(entropies, batch, max_tokens, processes)


def kl_of_states(
    policy: CausalLMPolicy,
    reference: Reference,
    batch: Trajectories,
    max_tokens: int,
    processes: Processes = SINGLE_PROCESS,
    episodes: int = 32,
) -> float:
    """Mean of KL(π(·|s)‖π_ref(·|s)) over the states of a batch in which something was chosen, in nats.

    Unlike an estimate from the chosen tokens it holds for episodes that somebody else has played.

    Args:
        episodes: the first so many of the batch are asked; the figure is for watching, and costs two forwards.
    """
    some = batch.take(torch.arange(min(episodes, len(batch)), device=batch.tokens.device))
    kls = map_in_batches(lambda t, m: policy.evaluate(t, m, reference=reference).kls, some, max_tokens, processes)
    return float(kls.sum() / some.completion_mask.sum())


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 - Var(R - V)/Var(R) over the entries that count: 1 is a perfect critic, 0 a constant one."""
    target, error = returns[mask], (returns - values)[mask]
    target = target - target[:1]  # equal returns have no variance, whatever the error of their mean
    variance = float(target.var()) if len(target) > 1 else 0.0
    return 1 - float(error.var()) / variance if variance > 0 else 0.0
