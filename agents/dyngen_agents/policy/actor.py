"""The behaviour policy of a rollout: a `CausalLMPolicy` with a seed of its own for sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.policy.causal_lm import Action, CausalLMPolicy
from dyngen_env.lm.sampling import uniforms


class Actor:
    """The behaviour policy of a rollout: `actor(tokens, lengths)` chooses the next token of every row.

    The random numbers are a hash of seed, row and call: sampling repeats for equal seed, batch and device, and neither
    uses nor changes torch's global generator.

    Args:
        policy: what acts.
        seed: of the sampling.
        deterministic: choose the likeliest token instead of sampling.
        processes: those that share the batch. Row i of process p samples as row i * world_size + p of a single process.
        rows: (B,) int64, where it plays copies of some rows: those that they sample as; None: row i is row i.
    """

    def __init__(
        self,
        policy: CausalLMPolicy,
        seed: int,
        *,
        deterministic: bool = False,
        processes: Processes = SINGLE_PROCESS,
        rows: Tensor | None = None,
    ):
        self.policy, self.seed, self.deterministic, self.processes = policy, seed, deterministic, processes
        self.rows = rows
        self.step = 0
        self._kept: Tensor | None = None  # (B,) of a batch, those that are asked for; None: all

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Action:
        """The next token of each row: tokens (B, L) int64, right-padded with -1; lengths (B,) int64."""
        return self.policy.act(tokens, lengths, self.uniforms(tokens))

    def uniforms(self, tokens: Tensor) -> Tensor | None:
        """(B,) the random numbers of the next call, which counts as made; None if the likeliest tokens are chosen."""
        if self.deterministic:
            return None
        rows = self.numbers(tokens)
        uniform = uniforms(self.seed, rows, torch.full_like(rows, self.step))
        self.step += 1
        return uniform

    def numbers(self, tokens: Tensor) -> Tensor:
        """(R,) int64: as which rows of a single process those that are asked for sample; tokens: (R, L) of them."""
        asked = torch.arange(len(tokens), device=tokens.device) if self._kept is None else self._kept
        rows = asked if self.rows is None else self.rows[asked]
        return rows * self.processes.world_size + self.processes.rank

    def keep(self, places: Tensor | None) -> None:
        """From now on only the rows at these places (R,) of those asked for so far are asked for, in this order.

        What has been cached of them is kept, and each goes on with its own random numbers. None: all rows of a batch.
        """
        if places is None:
            if self._kept is not None:
                self.policy.engine.invalidate()  # what it has cached are not the rows that are asked for next
            self._kept = None
        else:
            self._kept = places if self._kept is None else self._kept[places]
            self.policy.engine.fork(places)
