"""How short a walk in letters is beside the shortest one."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.worlds.random_walk import optimality
from dyngen_env.types import Transition


class WalkOptimality(Reward):
    """How short the walk of prompt and completion is, from 0 to 1: 1 for a shortest walk to "a" on the graph of
    `dyngen/RandomWalk-v0`, 0 for one that never comes there or takes an edge that does not exist.
    """

    name = "walk_optimality"
    cheap = True

    def __call__(self, transition: Transition) -> torch.Tensor:
        turns = zip(transition.examples, transition.completions, strict=True)
        return pay_turns(transition, [optimality(example.prompt + text) for example, text in turns])
