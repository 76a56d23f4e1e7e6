"""How people would rate the completion: a reward model trained on human ratings."""

from __future__ import annotations

import numpy as np
import torch

from dyngen_env.lm.rater import LMRater
from dyngen_env.rewards.base import Reward, RewardContext
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.human_rating import human_rating
from dyngen_env.types import Transition

HIGHEST_RATING = 4  # of the people who rated, from -4 to +4


class HumanRating(Reward):
    """The rating that people would give the turn's completion, as a model trained on human ratings predicts it, divided
    by 4: in [-1, 1].

    `dyngen_env/assets/README.md` says how well it predicts. Like every learned reward model it can be fooled by text
    unlike what it was trained on; `sentiment`, which is not learned, is a check.

    Args:
        path: None takes the model that comes with the package, linear in n-grams, a fraction of a millisecond a text.
            The path of a file that `python -m dyngen_agents.pretraining.make_human_rating --model smollm2 --out FILE`
            wrote takes a regression on the hidden states of the language model which that file names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a file of something else, or the language model has changed since it was written.
    """

    name = "human_rating"

    def __init__(self, path: str | None = None):
        self._judge = None if path is None else LMRater.load(path)
        self._device = "cpu"

    def bind(self, context: RewardContext) -> Reward:
        bound = HumanRating()
        bound._judge, bound._device = self._judge, str(context.device)
        return bound

    def __call__(self, transition: Transition) -> torch.Tensor:
        if self._judge is not None:
            ratings = self._judge(list(transition.completions), self._device) / HIGHEST_RATING
            return pay_turns(transition, np.clip(ratings, -1, 1).tolist())
        return pay_turns(transition, [human_rating(text) / HIGHEST_RATING for text in transition.completions])
