"""What the user in a dialogue thinks of a turn, and whether they leave with what they wanted."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.types import Transition

HIGHEST_RATING = 4  # of users who rate as the people of the review data did, from -4 to +4


class Rating(Reward):
    """The user's rating of the turn divided by 4; 0 where the user gave none. Ratings from -4 to +4 become [-1, 1]."""

    name = "rating"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [(f.rating or 0.0) / HIGHEST_RATING for f in transition.feedback])


class LeftHappy(Reward):
    """1 when the user ends the dialogue because they got what they wanted, -1 when they end it for another reason.

    It is 0 while the dialogue goes on, and where it ends because turns or context are used up. Its weight beside
    `rating` matters: a pleased user ends the dialogue early, and the agent then forgoes the ratings of the turns that
    were left. If the weight is below what these would have paid, the agent learns to keep people waiting. With
    `simulated` and up to 4 turns a weight of 2 is enough: `rating + 2*left_happy`.
    """

    name = "left_happy"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [1.0 if f.ends == "goal" else -float(f.ends) for f in transition.feedback])
