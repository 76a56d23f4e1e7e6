"""How similar in meaning the completion is to another text: the prompt, a reference answer, a topic."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any, Self

import torch

from dyngen_env.lm.encoder import as_encoder, cosines
from dyngen_env.rewards.base import Reward, RewardContext
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.types import Example, Transition

SIDES = ("prompt", "reference")


class Similarity(Reward):
    """The cosine similarity, in [-1, 1], of the embeddings of the turn's completion and of the prompt or the reference
    answer; 0 for an empty completion.

    Args:
        to: "prompt" or "reference".
        encoder: what gives texts their embeddings, see `lm.encoder.as_encoder`. None averages the hidden states of the
            env's own language model: that needs no download and judges coarsely. An encoder that was trained for
            sentences judges better.

    Raises:
        ValueError: `to` is another word; when the env is built, if it has no model and no encoder was given; when a
            turn is scored, if its prompt came without a reference.
    """

    name = "similarity"

    def __init__(self, to: str = "prompt", encoder: Any = None):
        if to not in SIDES:
            raise ValueError(f"similarity to {to!r}: expected one of {', '.join(map(repr, SIDES))}")
        self.to, self.encoder = to, encoder

    def bind(self, context: RewardContext) -> Self:
        encoder = context.model if self.encoder is None else self.encoder
        if encoder is None:
            raise ValueError(
                f"reward {self.name!r} needs an encoder: give the env model=..., or write encoder='reviews-lm'"
            )
        bound = copy.copy(self)
        bound.encoder = as_encoder(encoder, context.device)
        return bound

    def __call__(self, transition: Transition) -> torch.Tensor:
        said = [i for i, text in enumerate(transition.completions) if text.strip()]
        values = [0.0] * len(transition.completions)
        if said:
            others = [self._others(transition.examples[i]) for i in said]
            column = {text: k for k, text in enumerate(dict.fromkeys(chain.from_iterable(others)))}
            found = cosines(as_encoder(self.encoder), [transition.completions[i] for i in said], list(column))
            for i, row, own in zip(said, found, others, strict=True):
                values[i] = float(max(row[column[text]] for text in own))
        return pay_turns(transition, values)

    def _others(self, example: Example) -> tuple[str, ...]:
        """What the completion of an example is compared with: the nearest counts."""
        other = getattr(example, self.to)
        if other is None:
            raise ValueError(
                f"similarity to the reference: the example {example.prompt[:60]!r} has none; give prompts with "
                'references, such as a .jsonl file with lines {"prompt": ..., "reference": ...}'
            )
        return (other,)


class Topic(Similarity):
    """The cosine similarity, in [-1, 1], of the embeddings of the turn's completion and of a description of the topic.

    Several descriptions may be given, as in `topic('the actors and how they play', 'the cast')`: the most similar one
    counts.

    Args:
        descriptions: of the topic. encoder: as for `similarity`.

    Raises:
        ValueError: there is no description; when the env is built, if it has no model and no encoder was given.
    """

    name = "topic"

    def __init__(self, *descriptions: str, encoder: Any = None):
        if not descriptions or not all(isinstance(d, str) and d.strip() for d in descriptions):
            raise ValueError(f"topic needs descriptions, such as topic('the actors'); got {descriptions!r}")
        self.descriptions, self.encoder = descriptions, encoder

    def _others(self, example: Example) -> tuple[str, ...]:
        return self.descriptions
