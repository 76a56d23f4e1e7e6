"""The policy at work in a rollout: it draws its own random numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.policy.causal_lm import Action, CausalLMPolicy
from dyngen_env.lm.sampling import uniforms


class Actor:
    """The policy at work in a rollout: `actor(tokens, lengths)`; sampling repeats for equal seed, batch and device.

    Of the `processes` that share a batch, each samples as one process would in every P-th row of it.
    """

    def __init__(
        self, policy: CausalLMPolicy, seed: int, deterministic: bool = False, processes: Processes = SINGLE_PROCESS
    ):
        self.policy, self.seed, self.deterministic, self.processes = policy, seed, deterministic, processes
        self.step = 0

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Action:
        if self.deterministic:
            return self.policy.act(tokens, lengths, None)
        rows = torch.arange(len(tokens), device=tokens.device) * self.processes.world_size + self.processes.rank
        uniform = uniforms(self.seed, rows, torch.full_like(rows, self.step))
        self.step += 1
        return self.policy.act(tokens, lengths, uniform)
