"""One task, one budget, every way to use feedback: `python -m benchmarks.fusion table --arm words --seed 0`.

Each arm is trained in dyngen/Dialogue-v0 with dialogue-lm, 30 updates of 128 dialogues, and evaluated on 384 dialogues
with prompts that were not trained on. Arms that learn from records get as many dialogues of the untrained model. What
is compared is the mean rating in turns 2 and later, which feedback could have changed. An arm and a seed are a line of
--out, so that they can be run one at a time; `--show` prints the table of all lines: mean over seeds, and its 95%
interval (Student's t) where there are several.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.fusion._arms import keep, kept, parse
from dyngen_agents import (
    AdversarialConfig,
    FeedbackConditionedConfig,
    GRPOConfig,
    PPOConfig,
    QLearningConfig,
    REINFORCEConfig,
    SelfDistillationConfig,
    TrainConfig,
    evaluate,
    train,
)
from dyngen_agents.cli.record import Record
from dyngen_agents.data.episodes import EPISODES, read_episodes
from dyngen_agents.evaluation.intervals import t_quantile
from dyngen_env.users import SimulatedUser, User

BASE = TrainConfig(env="dyngen/Dialogue-v0", model="dialogue-lm", updates=30)
PPO = PPOConfig(learning_rate=1e-3, kl_coef=0.02)
MEMORY = FeedbackConditionedConfig(learning_rate=1e-3, kl_coef=0.02)
ILQL = QLearningConfig(  # imitation weighs little, or the model's gradient would be its alone: dialogue-lm can speak
    learning_rate=1e-3, epochs=4, minibatch_size=16, tau=0.9, polyak=0.02, cql_coef=0.01, bc_coef=0.1, beta=4.0
)
ADVERSARIAL = AdversarialConfig(learning_rate=1e-3, kl_coef=0.02)
LIKED = 2.0  # of ratings from -4 to +4
WINDOW = 96  # tokens of context: prompt and header, two turns of the agent with the answers, and room for the next turn


class Pins(SimulatedUser):
    """A simulated person who repeats in each answer what they have said before, so that no window loses it."""

    def reply(self, dialogues, rngs):
        answers = super().reply(dialogues, rngs)
        before = [talk.feedback[-1].text if talk.feedback else "" for talk in dialogues]  # holds all that was said
        texts = [old if a.text in old else f"{old} {a.text}".strip() for a, old in zip(answers, before, strict=True)]
        return [replace(answer, text=text) for answer, text in zip(answers, texts, strict=True)]


@dataclass(frozen=True)
class Arm:
    """A way to use feedback.

    Args:
        about: what the table says of it. algorithm: with its settings. settings: of the run, beside the common ones.
        user: from Python. reads: what the arm learns from beside its own dialogues, of the untrained model: "dialogues"
            as they were recorded, or the "liked turns" of them; the settings then name its file.
    """

    about: str
    algorithm: Any
    settings: dict[str, Any] = field(default_factory=dict)
    user: User | None = None
    reads: str | None = None


ARMS: dict[str, Callable[[], Arm]] = {
    "blind": lambda: Arm("rating alone: the user says nothing", PPO, dict(user="muted(simulated)")),
    "words": lambda: Arm("words in the context, PPO", PPO),
    "words, dear": lambda: Arm("the same, KL coefficient 0.1", replace(PPO, kl_coef=0.1)),
    "pinned": lambda: Arm(
        "words pinned, in a window of two turns",
        PPO,
        dict(max_context_tokens=WINDOW, context_overflow="drop_oldest"),
        Pins(),
    ),
    "memory": lambda: Arm("memory alone: no words in the context", MEMORY, dict(words_in_context=False)),
    "memory and words": lambda: Arm("memory beside words in the context", MEMORY),
    "grpo": lambda: Arm("words in the context, GRPO", GRPOConfig(learning_rate=1e-3, kl_coef=0.02, group_size=8)),
    "reinforce": lambda: Arm("words in the context, REINFORCE", REINFORCEConfig(learning_rate=2e-3, kl_coef=0.02)),
    "ilql": lambda: Arm("ILQL from recorded dialogues", ILQL, reads="dialogues"),
    "self-distillation": lambda: Arm(
        "words alone, no rating: the model that has heard the answer teaches", SelfDistillationConfig(2e-4)
    ),
    "adversarial": lambda: Arm(
        "adversarial against liked turns, no other reward", ADVERSARIAL, dict(reward="0"), reads="liked turns"
    ),
}


def main() -> None:
    arguments = parse(__doc__, ARMS, BASE.updates, "runs/fusion", "table.jsonl", "6 updates of 16 dialogues")
    if arguments.quick:
        arguments.updates, arguments.episodes = 6, 32
    for seed in arguments.seed:
        for name in arguments.arm:
            line = run(name, seed, arguments)
            keep(arguments.out, [line])
            sys.stderr.write(f"{name}, seed {seed}: {line['rating_later']:+.2f} for {line['kl_per_token']:.2f} nats\n")
    if arguments.show or not arguments.arm:
        Console().print(table(kept(arguments.out)))


def run(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train an arm with a seed and evaluate it: a line of the table's file."""
    arm, folder = ARMS[name](), arguments.runs / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    config, algorithm = replace(BASE, seed=seed, out=str(folder), updates=arguments.updates), arm.algorithm
    if arguments.quick:
        config = replace(config, episodes=16, num_envs=16)
    recorded = arguments.runs / f"recorded-{seed}"
    if arm.reads and not recorded.exists():
        count = config.updates * config.episodes
        Record(out=str(recorded), env=BASE.env, policy=BASE.model, episodes=count, seed=seed).execute()
    if arm.reads == "dialogues":
        config = replace(config, data=str(recorded))
    elif arm.reads == "liked turns":
        algorithm = replace(algorithm, human=str(liked_turns(recorded)))
    config = replace(config, **arm.settings)
    begun = time.process_time()
    train(config, algorithm, user=arm.user)
    seconds = time.process_time() - begun
    figures = evaluate(folder, arguments.episodes, user=arm.user)
    line: dict[str, Any] = dict(
        arm=name, about=arm.about, seed=seed, updates=config.updates, cpu_seconds=round(seconds)
    )
    for who, prefix in (("trained", ""), ("untrained", "untrained_")):
        for figure in ("rating_later", "rating_later_ci95", "rating_by_turn", "kl_per_token", "distinct_2"):
            line[prefix + figure] = figures[who][figure]
    return line


def liked_turns(recorded: Path) -> Path:
    """A file of the recorded turns that users liked, one on each line."""
    turns = [
        text.replace("\n", " ")
        for episode in read_episodes(recorded / EPISODES)
        for text, answer in zip(episode.completions, episode.feedback, strict=False)  # the last turn may have no answer
        if answer.rating is not None and answer.rating >= LIKED and text.strip()
    ]
    (file := recorded / "liked.txt").write_text("\n".join(turns) + "\n", encoding="utf-8")
    return file


def table(lines: list[dict[str, Any]]) -> Table:
    """An arm a row: rating, the untrained model's, KL per token, distinct-2, CPU minutes; means over seeds."""
    shown = Table(
        "way to use feedback", "seeds", "rating, turns 2+", "untrained", "nats a token", "distinct-2", "CPU minutes"
    )
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_arm.setdefault(line["about"], []).append(line)
    for about, rows in by_arm.items():
        ratings = [row["rating_later"] for row in rows]
        half = rows[0]["rating_later_ci95"]  # of one seed: over its dialogues
        if len(rows) > 1:
            half = t_quantile(len(rows) - 1) * statistics.stdev(ratings) / len(rows) ** 0.5
        kl, distinct, seconds = (
            statistics.fmean(row[name] for row in rows) for name in ("kl_per_token", "distinct_2", "cpu_seconds")
        )
        shown.add_row(
            about, str(len(rows)), f"{statistics.fmean(ratings):+.2f} ± {half:.2f}",
            f"{statistics.fmean(row['untrained_rating_later'] for row in rows):+.2f}", f"{kl:.2f}", f"{distinct:.2f}",
            f"{seconds / 60:.1f}",
        )  # fmt: skip
    return shown


if __name__ == "__main__":
    main()
