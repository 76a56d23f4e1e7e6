"""How human a trained discriminator takes the completion to be: the reward that adversarial training leaves behind."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Self

import torch

from dyngen_env.lm.discriminators.discriminator import Discriminator
from dyngen_env.lm.discriminators.file import read_discriminator
from dyngen_env.lm.discriminators.reading import as_read
from dyngen_env.rewards.base import Reward, RewardContext
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.text.vocabulary import vocabulary_fingerprint
from dyngen_env.types import Transition


class DiscriminatorScore(Reward):
    """The probability, in [0, 1], that people wrote the turn, by a discriminator that `dyngen train adversarial` has
    trained.

    It reads the very ids that the agent chose, so the env needs the tokenizer that it learned with. It stays as it is:
    a policy that is trained on it learns to please it, whether its texts become more human or not.

    Args:
        path: the run's folder, or the `discriminator.safetensors` in it.

    Raises:
        FileNotFoundError: there is no discriminator.
        ValueError: the file is something else, it has learned nothing yet, or, when the env is built, it was trained
            with another tokenizer, or for texts after a prompt where here a user answers, or media are shown.
    """

    name = "discriminator"

    def __init__(self, path: str | Path):
        self.saved = read_discriminator(path)
        if not self.saved.record.vocabulary:
            raise ValueError(f"the discriminator in {self.saved.path} has learned nothing yet: train that run first")

    def bind(self, context: RewardContext) -> Self:
        record, path = self.saved.record, self.saved.path
        if vocabulary_fingerprint(context.tokenizer) != record.vocabulary:
            raise ValueError(
                f"the discriminator in {path} reads tokens of {record.tokenizer!r}, this env has those of "
                f"{context.tokenizer.name!r}: give the env the model or tokenizer that it was trained with"
            )
        if record.reads_prompt and context.user_answers:
            raise ValueError(
                f"the discriminator in {path} reads a prompt with one completion, and in this env a user answers: "
                "train one in an env with a user"
            )
        if record.reads_prompt and context.media:
            raise ValueError(
                f"the discriminator in {path} reads the tokens of a prompt, and in this env prompts show pictures or "
                "sounds, which it cannot read: name another reward"
            )
        bound = copy.copy(self)
        bound._device, bound._end_ids = str(context.device), context.tokenizer.end_ids
        bound._judge = self._judge if bound._device == self._device else None  # a fork shares it
        return bound

    _device: str | None = None
    _end_ids: frozenset[int] = frozenset()
    _judge: Discriminator | None = None  # loaded at the first turn

    def __call__(self, transition: Transition) -> torch.Tensor:
        if self._device is None:
            raise ValueError(f"reward {self.name!r} is not bound to an env: call bind(context) first")
        if not len(transition.rows):
            return pay_turns(transition, [])
        rows = torch.as_tensor(transition.rows, device=self._device)
        tokens, end = transition.spoken.tokens[rows], transition.spoken.length[rows]
        start = torch.zeros_like(end) if self.saved.record.reads_prompt else transition.before.turn_start[rows]
        self._judge = self._judge or self.saved.on(self._device)
        with torch.no_grad():
            judged = self._judge.logits(as_read(tokens, start, end, self._end_ids))
        return pay_turns(transition, judged.sigmoid().tolist())
