"""What the model wrote before and after training, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dyngen_agents.data.rollout import Act, collect
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.lora import base_of
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.environment import draw_examples, make_env
from dyngen_agents.runs.from_python import NOTHING, FromPython

SAMPLES, COUNT = "samples.md", 6


def write_samples(
    run: Path,
    config: TrainConfig,
    policy: CausalLMPolicy,
    reference: Reference,
    given: FromPython = NOTHING,
    actor: Callable[[CausalLMPolicy, int], Act] = Actor,
) -> None:
    """Write samples.md: what both models make of the same held-out prompts, with the same random numbers.

    Args:
        run: the folder to write to.
        policy: the trained model. reference: the untrained one.
        given: the reward and the user from Python, if the run has them.
        actor: makes one of a policy and a seed.
    """
    env = make_env(config, COUNT, "eval", given.reward, given.user)
    examples = draw_examples(env, COUNT, config.seed)

    def written_by(writer: CausalLMPolicy) -> list[str]:
        return written(collect(env, actor(writer, config.seed), COUNT, examples=examples, seed=config.seed))

    with base_of(reference.lm) as lm:
        before = written_by(CausalLMPolicy(lm, reference.distribution))
    texts = before, written_by(policy)
    table = samples_table([example.prompt for example in examples], *texts)
    (run / SAMPLES).write_text(table, encoding="utf-8")


def written(batch: Trajectories) -> list[str]:
    """The text of each episode after its prompt: a completion, or a dialogue with the user's turns in brackets."""
    return [
        text if dialogue is None else _transcript(dialogue)
        for text, dialogue in zip(batch.texts, batch.dialogues, strict=True)
    ]


def _transcript(dialogue: list[dict]) -> str:
    turns = []
    for turn in dialogue[1:]:
        rating = turn.get("rating")
        said = turn["text"] if rating is None else f"{rating:+g}: {turn['text']}"
        turns.append(f"[{said}]" if turn["role"] == "user" else turn["text"])
    return " ".join(turns)


def samples_table(prompts: Sequence[str], before: Sequence[str], after: Sequence[str]) -> str:
    """A Markdown table of texts, one line a prompt."""
    rows = [("prompt", "before", "after"), ("---", "---", "---"), *zip(prompts, before, after, strict=True)]
    return "".join("| " + " | ".join(map(table_cell, row)) + " |\n" for row in rows)


def table_cell(text: str) -> str:
    """The text on one line, with `|` escaped, so that it fits into a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
