"""What is paid for: one protocol, an algebra, and the rewards that come with the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dyngen_env.expressions import Grammar
from dyngen_env.rewards.base import IllegalToken, Reward, RewardContext, TextReward, as_reward
from dyngen_env.rewards.discriminator import DiscriminatorScore
from dyngen_env.rewards.fluency import Fluency
from dyngen_env.rewards.form import JsonValid, Matches
from dyngen_env.rewards.human_rating import HumanRating
from dyngen_env.rewards.judge import Judge
from dyngen_env.rewards.keywords import Keywords
from dyngen_env.rewards.length import Length
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.rewards.people import human
from dyngen_env.rewards.preference import Preference
from dyngen_env.rewards.rating import Drafts, LeftHappy, Rating
from dyngen_env.rewards.readability import Readability
from dyngen_env.rewards.repetition import Repetition
from dyngen_env.rewards.safety import Safety
from dyngen_env.rewards.said import Brevity, Foreign, Said
from dyngen_env.rewards.sentiment import Sentiment
from dyngen_env.rewards.similarity import Similarity, Topic
from dyngen_env.rewards.transforms.clip import Clip
from dyngen_env.rewards.transforms.delay import delayed
from dyngen_env.rewards.transforms.normalise import Normalised
from dyngen_env.rewards.transforms.shaping import Shaping, shaped
from dyngen_env.rewards.walk_optimality import WalkOptimality

REWARDS: dict[str, Callable[..., Reward]] = {
    "brevity": Brevity,
    "discriminator": DiscriminatorScore,
    "drafts": Drafts,
    "fluency": Fluency,
    "foreign": Foreign,
    "human": human,
    "human_rating": HumanRating,
    "illegal": IllegalToken,
    "json_valid": JsonValid,
    "judge": Judge,
    "keywords": Keywords,
    "left_happy": LeftHappy,
    "length": Length,
    "matches": Matches,
    "preference": Preference,
    "rating": Rating,
    "readability": Readability,
    "repetition": Repetition,
    "safety": Safety,
    "said": Said,
    "sentiment": Sentiment,
    "similarity": Similarity,
    "topic": Topic,
    "walk_optimality": WalkOptimality,
}

WRAPPERS: dict[str, Callable[..., Reward]] = {
    "clip": Clip,
    "delayed": delayed,
    "normalised": Normalised,
    "shaped": shaped,
}

_EXPRESSIONS = Grammar("reward", REWARDS, WRAPPERS, arithmetic=True)


def make_reward(reward: Any) -> Reward:
    """A reward from an expression in a string, a Reward, a function of text, or a number.

    Raises:
        ValueError: the expression cannot be read; the message names the known rewards.
        TypeError: something else.
    """
    return as_reward(_EXPRESSIONS.parse(reward) if isinstance(reward, str) else reward)


__all__ = [
    "REWARDS",
    "WRAPPERS",
    "Brevity",
    "Clip",
    "DiscriminatorScore",
    "Drafts",
    "Fluency",
    "Foreign",
    "HumanRating",
    "IllegalToken",
    "JsonValid",
    "Judge",
    "Keywords",
    "LeftHappy",
    "Length",
    "Matches",
    "Normalised",
    "Preference",
    "Rating",
    "Readability",
    "Repetition",
    "Reward",
    "RewardContext",
    "Safety",
    "Said",
    "Sentiment",
    "Shaping",
    "Similarity",
    "TextReward",
    "Topic",
    "WalkOptimality",
    "as_reward",
    "delayed",
    "human",
    "make_reward",
    "pay_turns",
    "shaped",
]
