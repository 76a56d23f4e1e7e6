"""What the user in a dialogue thinks of a turn, how often they sent it back, and whether they leave happily."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward, RewardContext
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.types import Transition

HIGHEST_RATING = 4  # of users who rate as the people of the review data did, from -4 to +4


class UserReward(Reward):
    """A reward that is a user's opinion. Raises ValueError in an env where nobody answers: it would always be 0."""

    def bind(self, context: RewardContext) -> Reward:
        if not context.user_answers:
            raise ValueError(
                f"reward {self.name!r} is what a user thinks, and nobody answers in this env: give it a user, as in "
                "user='simulated', or take dyngen/Dialogue-v0"
            )
        return super().bind(context)


class Rating(UserReward):
    """The user's rating of the turn divided by 4: ratings from -4 to +4 become [-1, 1].

    Args:
        unrated: what a turn pays that the user did not rate, on the scale of the payments. With 0 it is worth as much
            as one that left the user cold, which is more than a disliked one.
    """

    name = "rating"

    def __init__(self, unrated: float = 0.0):
        self.unrated = unrated

    def __call__(self, transition: Transition) -> torch.Tensor:
        ratings = [f.rating for f in transition.feedback]
        return pay_turns(transition, [self.unrated if r is None else r / HIGHEST_RATING for r in ratings])


class LeftHappy(UserReward):
    """1 when the user ends the dialogue because they got what they wanted, -1 when they end it for another reason.

    It is 0 while the dialogue goes on, and where it ends because turns or context are used up. Its weight beside
    `rating` matters: a pleased user ends the dialogue early, and the agent then forgoes the ratings of the turns that
    were left. If the weight is below what these would have paid, the agent learns to keep people waiting. With
    `simulated` and up to 4 turns a weight of 2 is enough: `rating + 2*left_happy`.
    """

    name = "left_happy"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [1.0 if f.ends == "goal" else -float(f.ends) for f in transition.feedback])


class Drafts(UserReward):
    """How many drafts of the turn the user has sent back to have it written anew (`Feedback.revise`), paid with the
    turn. Take it with a price, as in `rating - 0.1*drafts`: what the drafts themselves were rated is not paid.
    """

    name = "drafts"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [0.0 if talk is None else float(talk.drafts) for talk in transition.dialogues])
