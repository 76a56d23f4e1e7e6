"""The ids: what `gym.make` and `gym.make_vec` know of this package, their defaults, and what their versions changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym


@dataclass(frozen=True)
class RegisteredEnv:
    """One id.

    `about` says what is asked of the agent; `keywords` are the defaults that differ from `TextGenEnv`'s; `history`
    tells by version what changed. A change after which equal actions lead to other episodes or rewards makes a new one.
    """

    about: str
    keywords: dict[str, Any]
    history: dict[str, str]


ENVS = {
    "dyngen/Generate-v0": RegisteredEnv(
        "Your own task: give it prompts, a reward, a model or tokenizer, perhaps a user. Without any keyword the agent "
        "continues film reviews and is paid for likely words.",
        dict(max_new_tokens=32, max_context_tokens=128, reward="fluency"),
        {"v0": "first version, in dyngen-env 0.1.0"},
    ),
    "dyngen/Sentiment-v0": RegisteredEnv(
        "Continue the first 4 to 8 words of a film review, in at most 32 tokens, so that readers feel good about the "
        "film.",
        dict(max_new_tokens=32, max_context_tokens=64, reward="sentiment"),
        {"v0": "first version, in dyngen-env 0.1.0"},
    ),
    "dyngen/Dialogue-v0": RegisteredEnv(
        "Talk about a film, for up to four turns, with somebody who wants something else in every episode and does not "
        "say so at first, but rates each turn and says what to change: listen, and do it.",
        dict(
            max_new_tokens=20,
            max_turns=4,
            max_context_tokens=192,
            user="simulated",
            reward="rating + 2*left_happy",
        ),
        {"v0": "first version, in dyngen-env 0.1.0"},
    ),
}


def register_all() -> None:
    """Register every id that is not registered yet."""
    for name, env in ENVS.items():
        if name not in gym.registry:
            gym.register(
                id=name,
                entry_point="dyngen_env.envs.env:TextGenEnv",
                vector_entry_point="dyngen_env.envs.vector_env:TextGenVectorEnv",
                kwargs=env.keywords,
            )
