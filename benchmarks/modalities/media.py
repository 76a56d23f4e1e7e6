"""What pictures and sounds cost: rollouts and env steps with one a row, against those without.

python -m benchmarks.modalities media [--quick] [--json PATH] [--device cuda]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import harness, setting
from benchmarks.harness import Row, compare, rate
from dyngen_agents import Actor, CausalLMPolicy, collect
from dyngen_env import Example, Picture, Sound
from dyngen_env.lm.modalities import attach_encoder, small_encoder
from dyngen_env.text.media import Medium

BATCH, KINDS = 64, 256  # rows, and how many media the prompts show


def main() -> None:
    harness.main(__doc__, measure)


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    rng = np.random.default_rng(0)
    pictures = [Picture(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)) for _ in range(KINDS)]
    sounds = [Sound(rng.uniform(-1, 1, 32000).astype(np.float32)) for _ in range(KINDS)]
    for what, shown in (("a picture", pictures), ("two seconds of sound", sounds)):
        yield rollout(what, shown, arguments.repeats, arguments.device)
    for observation in ("tokens", "dict"):
        yield env_step(observation, pictures, arguments.repeats)


def rollout(what: str, shown: Sequence[Medium], repeats: int, device: str) -> Row:
    """Policy, encoder, sampling, values, env steps and rewards; the same words with and without media before them."""

    def played(media: Sequence[Medium | None]) -> Any:
        lm = setting.model(device=device)
        attach_encoder(lm, small_encoder(lm, pictures=(32, 32), sounds=2.0))
        env = env_of(media, output="torch", device=device)
        policy = CausalLMPolicy(lm, env.token_distribution())
        return rate(lambda: float(collect(env, Actor(policy, 1), BATCH, seed=0).completion_lengths.sum()), device)

    return compare(
        f"rollout with {what} a row, batch {BATCH}", "the same words alone", played(shown), played([None] * KINDS),
        "tokens/s", repeats,
    )  # fmt: skip


def env_step(observation: str, shown: Sequence[Medium], repeats: int) -> Row:
    """Steps of an env with NumPy observations, `dict` with the pictures in them."""

    def stepped(media: Sequence[Medium | None]) -> Any:
        env = env_of(media, observation=observation)
        actions = np.full(BATCH, 5)
        env.reset(seed=0)

        def steps() -> float:
            for _ in range(100):
                env.step(actions)
            return 100.0 * BATCH

        return rate(steps)

    return compare(
        f"env steps with a picture a row, observation {observation!r}, batch {BATCH}", "the same words alone",
        stepped(shown), stepped([None] * KINDS), "tokens/s", repeats,
    )  # fmt: skip


def env_of(media: Sequence[Medium | None], **options: Any) -> Any:
    """An env whose prompts show these media, or nothing where one is None."""
    words = setting.prompts(len(media))
    examples = [Example(text, media=() if one is None else (one,)) for text, one in zip(words, media, strict=True)]
    return setting.env(BATCH, prompts=examples, max_context_tokens=16 + setting.PROMPT + setting.NEW, **options)
