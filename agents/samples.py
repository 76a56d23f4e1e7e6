"""What the model wrote before and after training, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agents.environment import draw_examples, make_env
from agents.learner import CustomReward
from agents.policy import Actor, CausalLMPolicy, Reference
from agents.rollout import collect
from agents.train_config import TrainConfig

SAMPLES, COUNT = "samples.md", 6


def write_samples(
    run: Path, config: TrainConfig, policy: CausalLMPolicy, reference: Reference, reward: CustomReward = None
) -> None:
    """Write samples.md: completions of prompts that were not trained on, by both models with equal uniforms."""
    env = make_env(config, COUNT, "eval", reward)
    examples = draw_examples(env, COUNT, config.seed)
    before = CausalLMPolicy(reference.lm, reference.legal, reference.sampling, reference.banned)
    texts = [
        collect(env, Actor(actor, config.seed), COUNT, examples=examples, seed=config.seed).texts
        for actor in (before, policy)
    ]
    table = samples_table([example.prompt for example in examples], *texts)
    (run / SAMPLES).write_text(table, encoding="utf-8")


def samples_table(prompts: Sequence[str], before: Sequence[str], after: Sequence[str]) -> str:
    """A Markdown table of texts, one line a prompt."""
    rows = [("prompt", "before", "after"), ("---", "---", "---"), *zip(prompts, before, after, strict=True)]
    return "".join("| " + " | ".join(map(_cell, row)) + " |\n" for row in rows)


def _cell(text: str) -> str:
    """Text that cannot break the table: no bars, no line ends."""
    return " ".join(text.split()).replace("|", "\\|")
