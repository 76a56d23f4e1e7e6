"""A reward that came from Python: `run.json` can hold only its name, so whoever opens the run must give it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dyngen_env.rewards import Reward

CustomReward = Reward | Callable[..., float] | None


def name_of(reward: CustomReward) -> str | None:
    """How `run.json` calls a reward that came from Python; None for no such reward."""
    return None if reward is None else getattr(reward, "name", getattr(reward, "__name__", type(reward).__name__))


def check_custom_reward(record: dict[str, Any], given: CustomReward) -> None:
    """Raises ValueError if a run was trained with a reward from Python and has not been given one again."""
    if record["custom_reward"] is not None and given is None:
        raise ValueError(
            f"the run's reward {record['custom_reward']!r} came from Python, which run.json cannot hold: give it "
            "again, by reward=... from Python"
        )
