"""Which prompts the rows of a batch play next, on a device: drawn from each row's own seeds, many episodes in advance.

Shapes: B rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dyngen_env.envs.seed_tensors import Wide, draws, jump, jumps, uniforms, wide
from dyngen_env.envs.seeding import BLOCK, EpisodeSeeds, stream_uniform
from dyngen_env.tasks import Prompts

AHEAD = 64  # episodes of each row whose prompts are known


class PromptQueue:
    """The examples that B rows play in their next episodes, as `EpisodeSeeds` and `Prompts.pick` choose them.

    `next`, `use` and `refill` are operations on tensors that stay where they are, so that CUDA graphs can hold them.

    Attributes:
        memory: the tensors.
    """

    def __init__(self, task: Prompts, rows: int, device: torch.device):
        self._task, self._device = task, device
        self._ahead = torch.zeros(rows, AHEAD, dtype=torch.int64, device=device)  # indices of examples
        self._used = torch.zeros(rows, dtype=torch.int64, device=device)  # how many of them
        self._earlier = torch.zeros_like(self._used)  # how many before them, since `load` or `recount`
        self._generators = torch.zeros(4, rows, dtype=torch.int64, device=device)  # state and increment, hi and lo
        self._jumps, self._draws = jumps(0, AHEAD, device), jumps(1, AHEAD, device)
        self._places = torch.arange(AHEAD, device=device)
        self.memory = [self._ahead, self._used, self._earlier, self._generators]

    def load(self, seeds: EpisodeSeeds) -> None:
        """Go on with these seeds."""
        ahead = np.zeros((len(seeds.used), AHEAD), dtype=np.int64)
        ahead[:, -BLOCK:] = self._task.pick(stream_uniform(seeds.block, "task"))
        used = seeds.used + (AHEAD - BLOCK)
        self._ahead.copy_(torch.from_numpy(ahead))
        self._used.copy_(torch.from_numpy(used))
        self._earlier.copy_(torch.from_numpy(-used))
        states = [generator.bit_generator.state["state"] for generator in seeds.generators]
        now = wide([s["state"] for s in states], self._device), wide([s["inc"] for s in states], self._device)
        self._generators.copy_(torch.stack([*now[0], *now[1]]))
        self.refill()

    def next(self) -> Tensor:
        """(B,) int64: the index of the example that each row plays next."""
        return self._ahead.gather(1, self._used.unsqueeze(1)).squeeze(1)

    def use(self, rows: Tensor) -> None:
        """Rows (B,) bool play what `next` said. After `AHEAD` calls it is time for `refill`."""
        self._used.add_(rows)

    def refill(self) -> None:
        """Prompts that have been played make room for those of as many more episodes."""
        state_hi, state_lo, c_hi, c_lo = self._generators.unsqueeze(2).unbind()  # each (B, 1)
        state, increment = Wide(state_hi, state_lo), Wide(c_hi, c_lo)
        chance = uniforms(draws(state, increment, self._draws), "task")
        drawn = (chance * len(self._task.examples)).long()  # as `Prompts.pick` does
        known = torch.cat([self._ahead, drawn], dim=1)
        self._ahead.copy_(known.gather(1, self._used.unsqueeze(1) + self._places))
        hi, lo = jump(state, increment, self._jumps.at(self._used.unsqueeze(1)))
        self._generators[:2] = torch.stack([hi.squeeze(1), lo.squeeze(1)])
        self._earlier.add_(self._used)
        self._used.zero_()

    def counts(self) -> Tensor:
        """(B,) int64: how many episodes each row has begun since `load`, or since the last `recount`."""
        return self._earlier + self._used

    def recount(self) -> None:
        """Count from here."""
        torch.neg(self._used, out=self._earlier)
