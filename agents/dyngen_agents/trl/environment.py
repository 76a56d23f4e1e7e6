"""An `environment_factory` for TRL's GRPOTrainer: a dialogue that a tool-calling model plays by calling `say`.

    factory = partial(TextEnvironment, "dyngen/Dialogue-v0", max_turns=3)
    GRPOTrainer(model, environment_factory=factory, train_dataset=prompt_dataset(env, 64, chat=True))

TRL needs a model whose chat template knows tools; it offers every public method but `reset` and `get_reward` as one.
For models without tools, and for rewards on the model's own tokens, use `EnvRollout`.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

import dyngen_env  # noqa: F401  registers the ids
from dyngen_agents.trl.prompts import examples_of, group_seeds, prompt_text
from dyngen_env.envs.env import TextGenEnv

OVER = "The conversation is over."


class TextEnvironment:
    """A single environment that is played in whole turns of text.

    Each text is encoded with the env's own tokenizer, which need not be the model's, and played token by token.

    Args:
        env_id: the id for `gym.make`.
        silence_reward: the reward of an episode in which `say` was never called, so that saying nothing does not pay.
        options: keywords for `gym.make`.

    Raises:
        ValueError: the env is not one of dyngen's, or its tokenizer has no token that ends a turn.
    """

    def __init__(self, env_id: str = "dyngen/Dialogue-v0", *, silence_reward: float = -1.0, **options: Any):
        env = gym.make(env_id, **options).unwrapped
        if not isinstance(env, TextGenEnv):
            raise ValueError(f"env {env_id!r} is a {type(env).__name__}: expected an env of dyngen")
        if not env.tokenizer.end_ids:
            raise ValueError(f"tokenizer {env.tokenizer.name!r} has no token that ends a turn: choose another one")
        self._env, self._silence_reward = env, silence_reward
        self._rewards: list[float] = []  # of the steps so far
        self._over, self._resets = True, 0

    def reset(self, prompt: Any = None, seed: int | None = None, **columns: Any) -> str | None:
        """Begin an episode. TRL calls this with the columns of a row of the dataset.

        Args:
            prompt: the row's prompt, a text or a list of one user message. If it is empty, the env draws a prompt.
            seed: seeds the env; rows of equal seed meet the same simulated user. Without one it comes from the prompt
                and the number of the reset, so that the environments of a group meet the same user.
            columns: all other columns, which are ignored.

        Returns:
            The prompt that the env has drawn, which TRL appends to the row's last message; None if the row had one.
        """
        text = prompt_text(prompt) if prompt else ""
        chosen = examples_of(self._env.batch.task, [text])[0] if text else None
        seeds = group_seeds([text], self._resets) if seed is None and text else [seed]
        self._resets += 1
        self._env.reset(seed=seeds[0], options={"prompt": chosen} if chosen else None)
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
        """The return of the episode: the sum of the rewards so far, or `silence_reward` if nothing was said."""
        return sum(self._rewards) if self._rewards else self._silence_reward

    def _counts(self) -> tuple[int, int]:
        """How many answers were heard and how many turns taken."""
        dialogue = self._env.batch.dialogues[0]
        return (len(dialogue.feedback), len(dialogue.completions)) if dialogue else (0, 0)
