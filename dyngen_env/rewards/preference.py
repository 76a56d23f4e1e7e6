"""How much people would prefer the completion: a reward model trained on preferences."""

from __future__ import annotations

from pathlib import Path

import torch

from dyngen_env.rewards.base import Reward, pay_turns
from dyngen_env.scoring.human_rating import saved_rating
from dyngen_env.types import Transition


class Preference(Reward):
    """r of the turn's completion, where σ(r(a) - r(b)) is how likely people prefer a to b (Bradley and Terry 1952).

    Only differences mean something: 1 is odds of 2.7 to 1. `python -m dyngen_agents.reward_models.preferences`
    trains one from (prompt, chosen, rejected).

    Args:
        path: the `.npz` file that it wrote.

    Raises:
        FileNotFoundError: no such file. ValueError: a file of something else.
    """

    name = "preference"

    def __init__(self, path: str | Path):
        self.model = saved_rating(str(path))

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [self.model(text) for text in transition.completions])
