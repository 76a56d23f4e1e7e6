"""Prompts between TRL and an env: a dataset of the env's, and what a row of a dataset asks the env to play."""

from __future__ import annotations

from typing import Any

from dyngen_agents.runs.environment import draw_examples
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.tasks import Prompts, Task
from dyngen_env.types import Example


def prompt_dataset(env: Any, count: int, *, seed: int = 0, chat: bool = False) -> Any:
    """A `datasets.Dataset` of `count` prompts of the env's task, for `GRPOTrainer(train_dataset=...)`.

    Args:
        env: single or batched, wrapped or not.
        seed: which prompts, and in which order: none again before all have been drawn.
        chat: prompts as messages, which a model that calls tools needs, and a column `seed` that `TextEnvironment`
            hands to the env's reset: so all episodes of a group meet the same user.

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
        ValueError: anything else: the env plays a dialogue from its beginning.
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
    """What the env plays for these prompts: the task's own examples where it has them, references included."""
    known = {example.prompt: example for example in task.examples} if isinstance(task, Prompts) else {}
    return [known.get(text, Example(text)) for text in texts]
