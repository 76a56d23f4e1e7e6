"""GRPOTrainer's `environment_factory`: a dialogue that a model with tools plays by calling `say`.

    factory = partial(TextEnvironment, "dyngen/Dialogue-v0", max_turns=3)
    GRPOTrainer(model, environment_factory=factory, train_dataset=prompt_dataset(env, 64, chat=True))

TRL 1.10 needs a model whose chat template knows tools. Every public method but `reset` and `get_reward` is a tool.
For a model without tools, and for rewards on the model's own tokens, there is `EnvRollout`.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

import dyngen_env  # noqa: F401  registers the ids
from dyngen_agents.trl.prompts import examples_of, prompt_text
from dyngen_env.envs.env import TextGenEnv

OVER = "The conversation is over."


class TextEnvironment:
    """One env, played in turns of text. What is said is spelled in the env's own tokens and stepped through one by one.

    Args:
        env_id: as for `gym.make`. options: likewise; the env's tokenizer need not be the model's.
        silence_reward: what an episode pays in which nothing was said, so that saying nothing is no way out.

    Raises:
        ValueError: the env is none of ours, or its tokenizer has no token that ends a turn.
    """

    def __init__(self, env_id: str = "dyngen/Dialogue-v0", *, silence_reward: float = -1.0, **options: Any):
        env = gym.make(env_id, **options).unwrapped
        if not isinstance(env, TextGenEnv):
            raise ValueError(f"env {env_id!r} is a {type(env).__name__}: expected an env of dyngen")
        if not env.tokenizer.end_ids:
            raise ValueError(f"tokenizer {env.tokenizer.name!r} has no token that ends a turn: choose another one")
        self._env, self._silence_reward = env, silence_reward
        self._rewards: list[float] = []  # of the steps so far
        self._over = True

    def reset(self, prompt: Any = None, seed: int | None = None, **columns: Any) -> str | None:
        """Begin an episode: the prompt of the dataset's row or, where that is empty, one that the env draws.

        Args:
            prompt: as in the dataset. seed: seeds the env. columns: others are ignored.

        Returns:
            The drawn prompt, which TRL appends to the row's last message; None if the row had one.
        """
        text = prompt_text(prompt) if prompt else ""
        chosen = examples_of(self._env.batch.task, [text])[0] if text else None
        self._env.reset(seed=seed, options={"prompt": chosen} if chosen else None)
        self._rewards, self._over = [], False
        return None if chosen else self._env.batch.examples[0].prompt

    def say(self, text: str) -> str:
        """Say something to the user and wait for the answer.

        Args:
            text: The words to say.

        Returns:
            The words that the user answers.
        """
        if self._over:
            raise ValueError(OVER)
        tokenizer, heard, turns = self._env.tokenizer, *self._counts()
        for token in [*tokenizer.encode(text), min(tokenizer.end_ids)]:
            _, reward, terminated, truncated, _ = self._env.step(token)
            self._rewards.append(reward)
            self._over = terminated or truncated
            if self._over or self._counts()[1] > turns:  # the turn's budget may end before the text does
                break
        dialogue = self._env.batch.dialogues[0]
        answer = dialogue.feedback[-1].text if dialogue and len(dialogue.feedback) > heard else ""
        return f"{answer}\n{OVER}".strip() if self._over else answer

    def get_reward(self) -> float:
        """The sum of the rewards of all steps."""
        return sum(self._rewards) if self._rewards else self._silence_reward

    def _counts(self) -> tuple[int, int]:
        """How many answers were heard and how many turns taken."""
        dialogue = self._env.batch.dialogues[0]
        return (len(dialogue.feedback), len(dialogue.completions)) if dialogue else (0, 0)
