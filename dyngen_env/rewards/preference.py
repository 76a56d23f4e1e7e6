"""How much people would prefer the completion: a reward model trained on preferences."""

from __future__ import annotations

from pathlib import Path

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.human_rating import saved_rating
from dyngen_env.types import Transition


class Preference(Reward):
    """The score r of the turn's completion by a model of pairwise preferences (Bradley and Terry 1952).

    σ(r(a) - r(b)) is the probability that people prefer the text a to the text b. So only differences of r mean
    something: a difference of 1 is odds of 2.7 to 1.

    Args:
        path: the `.npz` file that `python -m dyngen_agents.reward_models.preferences` wrote, which trains the model on
            triples of prompt, chosen and rejected text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a file of something else.
    """

    name = "preference"

    def __init__(self, path: str | Path):
        self.model = saved_rating(str(path))

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [self.model(text) for text in transition.completions])
