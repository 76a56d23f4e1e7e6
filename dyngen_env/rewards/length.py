"""Whether the completion is as long as it should be."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.types import Transition


class Length(Reward):
    """How near the turn's completion is to a length: max(-1, 1 - |n - target| / target) for n words.

    That is 1 at the target, and 0 for an empty completion and for twice the target.

    Args:
        target: the wanted number of words.

    Raises:
        ValueError: the target is less than 1.
    """

    name = "length"
    cheap = True

    def __init__(self, target: int = 20):
        if target < 1:
            raise ValueError(f"length needs a target of at least 1 word, got {target}")
        self.target = target

    def __call__(self, transition: Transition) -> torch.Tensor:
        counts = [len(text.split()) for text in transition.completions]
        return pay_turns(transition, [max(-1.0, 1 - abs(n - self.target) / self.target) for n in counts])
