"""`dyngen_env.mix`: one vector env whose rows play several ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from dyngen_env.envs.mixture.ids import task_ids
from dyngen_env.envs.options import EnvOptions, keywords_of
from dyngen_env.envs.vector_env import TextGenVectorEnv


def mix(tasks: str | Mapping[str, float], num_envs: int = 1, **keywords: Any) -> TextGenVectorEnv:
    """One vector env whose rows play several ids: `mix({"dyngen/Sentiment-v0": 2, "dyngen/Dialogue-v0": 1})`.

    Args:
        tasks: weights by id, or text, such as "2*dyngen/Sentiment-v0 + dyngen/Dialogue-v0".
        num_envs: rows.
        keywords: of `gym.make_vec`, such as `task_choice` and `task_tokens`. Without `max_context_tokens` it is the
            largest of the ids' own; without `model` it is dialogue-lm, which talks and writes reviews.

    Raises:
        ValueError: ids or keywords that cannot work together; the message says what to do.
    """
    if keywords.get("tokenizer") is not None:
        keywords.setdefault("model", None)
    own = [task.keywords.get("max_context_tokens", 0) for task in task_ids(tasks, keywords.get("task_scales"))]
    keywords.setdefault("max_context_tokens", max(own) or keywords_of(EnvOptions)["max_context_tokens"].default)
    mode = gym.VectorizeMode.VECTOR_ENTRY_POINT
    env: Any = gym.make_vec("dyngen/Mix-v0", num_envs=num_envs, vectorization_mode=mode, tasks=tasks, **keywords)
    return env
