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
    "dyngen/Maze-v0": RegisteredEnv(
        "Find the way out of a maze that is described in words, by moves in words such as `move left`, from any of its "
        "25 places: the fully observed maze of LMRL-Gym. A move costs 1, words that are no move cost 4, the move to "
        "the goal is free, and after 100 moves it is over. The best policy has a mean return of -6.84.",
        dict(
            model="maze-lm",
            prompts="maze",
            user="maze",
            reward="4*rating - 100*illegal",
            max_turns=100,
            max_new_tokens=4,
            max_context_tokens=2048,
        ),
        {"v0": "first version, in dyngen-env 0.3.0"},
    ),
    "dyngen/RandomWalk-v0": RegisteredEnv(
        "Walk from a letter to `a` on a directed graph of 21 letters that the agent is not shown, with as few letters "
        "as can be: the random walks of trlX. It is paid how near it comes to the shortest walk, from 0 to 1.",
        dict(
            model="walk-lm",
            prompts="random_walk",
            reward="walk_optimality",
            max_new_tokens=9,
            max_context_tokens=16,
        ),
        {"v0": "first version, in dyngen-env 0.3.0"},
    ),
    "dyngen/Picture-v0": RegisteredEnv(
        "Look at an emoji of 32x32 pixels and answer a question about it in at most 8 words: its name, its kind, its "
        "colours, or whether it is, say, food. The same picture has another right answer to each. Paid is the F1 of "
        "the words said, at a price for words that belong to other categories. What is asked about in evaluation is "
        "never shown in training, in no other skin tone or gender either.",
        dict(
            model="pictures-lm",
            prompts="pictures",
            reward="said - 0.2*foreign + 0.1*brevity",
            max_new_tokens=8,
            max_context_tokens=16,
        ),
        {"v0": "first version, in dyngen-env 0.3.0"},
    ),
    "dyngen/Mix-v0": RegisteredEnv(
        "Play several ids at once, another one in every episode: film reviews to go on with, and people to talk with, "
        "told apart by their prompts alone. Each is asked, answered and paid as by itself, but for a scale that makes "
        "their rewards weigh alike. `dyngen_env.mix` makes mixtures of your own.",
        dict(
            model="dialogue-lm",
            tasks="dyngen/Sentiment-v0 + dyngen/Dialogue-v0",
            max_context_tokens=192,
        ),
        {"v0": "first version, in dyngen-env 0.3.0"},
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
