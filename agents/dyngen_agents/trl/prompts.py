"""Prompts between an env and TRL: a dataset of the env's prompts, and the env's example for a prompt of a dataset."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from dyngen_agents.runs.environment import draw_examples
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.tasks import Task
from dyngen_env.types import Example


def prompt_dataset(env: Any, count: int, *, seed: int = 0, chat: bool = False) -> Any:
    """A `datasets.Dataset` of `count` prompts of the env's task, for `GRPOTrainer(train_dataset=...)`.

    Args:
        env: a single or batched env, wrapped or not.
        count: the number of rows. No prompt is drawn twice before all have been drawn once.
        seed: chooses the prompts and their order.
        chat: True makes each prompt a list of one message, as models that call tools need it, and adds a column `seed`.
            `TextEnvironment` passes that to the env's reset, so that all episodes of a group meet the same user.

    Raises:
        ImportError: the package `datasets` is missing.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise ImportError("prompt_dataset needs TRL and its datasets: pip install 'trl>=1.10,<2'") from error
    batch: TextGenVectorEnv = getattr(env.unwrapped, "batch", env.unwrapped)
    texts = [example.prompt for example in draw_examples(batch, count, seed)]
    if not chat:
        return Dataset.from_dict({"prompt": texts})
    messages = [[{"role": "user", "content": text}] for text in texts]
    return Dataset.from_dict({"prompt": messages, "seed": list(range(seed, seed + count))})


def prompt_text(prompt: Any) -> str:
    """The text of a prompt in either of TRL's formats: a string, or a list of one user message.

    Raises:
        ValueError: the prompt is anything else, such as a longer dialogue: the env plays dialogues from the beginning.
    """
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and len(prompt) == 1 and prompt[0].get("role") == "user":
        return prompt[0]["content"]
    raise ValueError(
        f"the prompt {str(prompt)[:200]} cannot be played: expected a text, or a list of one message of the user's, "
        "from which the env goes on"
    )


def examples_of(task: Task, texts: list[str]) -> list[Example]:
    """The examples that the env shall play for these prompts.

    Where the task has an example with that prompt, it is used, its reference included; else the prompt alone is.
    """
    known = {example.prompt: example for example in getattr(task, "examples", ())}
    return [known.get(text, Example(text)) for text in texts]


def group_seeds(texts: list[str], call: int, seed: int = 0) -> list[int]:
    """The env's seed of each episode: equal where the prompt is, in every process, and another in each call.

    So the completions of a group, which TRL compares with each other, are answered by the same simulated user.
    """
    entropy = [(seed, call, zlib.crc32(text.encode("utf-8", "replace"))) for text in texts]
    return [int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1) for numbers in entropy]
