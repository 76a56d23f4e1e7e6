"""The ids: what `gym.make` and `gym.make_vec` know of this package, and their defaults."""

from __future__ import annotations

import gymnasium as gym

IDS: dict[str, dict] = {
    # Your tokenizer, prompts, reward and limits.
    "dyngen/Generate-v0": dict(max_new_tokens=32, max_context_tokens=128, reward="fluency"),
    # Continue a film review so that readers feel good about the film.
    "dyngen/Sentiment-v0": dict(max_new_tokens=32, max_context_tokens=64, reward="sentiment"),
    # Talk about a film with somebody who wants something else in every episode: listen, and do it.
    "dyngen/Dialogue-v0": dict(
        max_new_tokens=20,
        max_turns=4,
        max_context_tokens=192,
        user="simulated",
        reward="rating + 2*left_happy",
    ),
}


def register_all() -> None:
    """Register every id that is not registered yet."""
    for name, defaults in IDS.items():
        if name not in gym.registry:
            gym.register(
                id=name,
                entry_point="dyngen_env.envs.env:TextGenEnv",
                vector_entry_point="dyngen_env.envs.vector_env:TextGenVectorEnv",
                kwargs=defaults,
            )
