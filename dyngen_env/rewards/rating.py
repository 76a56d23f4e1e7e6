"""What the user thought of a turn, and how the dialogue ended for them."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward, pay_turns
from dyngen_env.types import Transition

HIGHEST_RATING = 4  # of users who rate as the people of the review data did, from -4 to +4


class Rating(Reward):
    """The user's rating of the turn divided by 4, so [-1, 1] for ratings from -4 to +4; 0 for a turn without one."""

    name = "rating"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [(f.rating or 0.0) / HIGHEST_RATING for f in transition.feedback])


class LeftHappy(Reward):
    """1 when the user ends the dialogue because they got what they wanted, -1 when they leave otherwise.

    0 while the dialogue goes on, and where turns or context are used up. A user who is pleased ends the dialogue early:
    beside `rating` the weight must outbid the ratings of the turns that are not played any more, else it pays to keep
    people waiting. `rating + 2*left_happy` does for up to 4 turns with `SimulatedUser`.
    """

    name = "left_happy"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [1.0 if f.ends == "goal" else -float(f.ends) for f in transition.feedback])
