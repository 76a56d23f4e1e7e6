"""How people would rate the completion: a reward model trained on human ratings."""

from __future__ import annotations

import torch

from dyngen_env.rewards.reward import Reward, pay_turns
from dyngen_env.scoring.human_rating import human_rating
from dyngen_env.structs import Transition

HIGHEST_RATING = 4  # of the people who rated, from -4 to +4


class HumanRating(Reward):
    """The rating that people would give the turn's completion, predicted and divided by 4, in [-1, 1].

    How well it predicts: `assets/README.md`. Like every learned judge it can be fooled by text unlike what it has seen;
    compare with `sentiment`, which is not learned.
    """

    name = "human_rating"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [human_rating(text) / HIGHEST_RATING for text in transition.completions])
