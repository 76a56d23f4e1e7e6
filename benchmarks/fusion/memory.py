"""What is a memory worth? `python -m benchmarks.fusion memory --arm right --seed 0`.

Three questions, in dyngen/Dialogue-v0 with dialogue-lm; an arm and a seed at a time are lines of --out, `--show` prints
them. Each arm is 30 updates (5 to 6 minutes on an idle core, twice that with 8 turns), then 384 unseen dialogues.

- Whose memory? "right" is trained with no words in the context, and then plays with its own memory, with none, and with
  that of another dialogue. What counts is the mean rating in turns 2 and later.
- Beyond the window: 8 turns in a context that holds 2 (`drop_oldest`), with somebody who stays. "beyond" has a memory
  and words in the context, "beyond, words" the words alone, "beyond, pinned" all that was said again in each answer.
  Ratings in turns 2 to 4 and in turns 5 to 8.
- Coming back: everybody has three dialogues one after the other. "back" remembers them, "back, words" does not. Rating
  of the first turn in each.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.fusion._arms import keep, kept, parse
from benchmarks.fusion.table import BASE, MEMORY, PPO, WINDOW, Pins
from dyngen_agents import collect, open_run, train
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.evaluation.intervals import t_quantile
from dyngen_agents.policy.feedback_memory import MemoryActor
from dyngen_agents.runs.environment import draw_examples
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.types import Feedback
from dyngen_env.users import ReturningUser, SimulatedUser, User

VISITS = 3


class Stays(SimulatedUser):
    """A simulated person who neither leaves nor is done: what they rate is comparable at every turn."""

    def reply(self, dialogues, rngs):
        return [Feedback(answer.text, answer.rating) for answer in super().reply(dialogues, rngs)]


class StaysAndPins(Pins, Stays):
    """The same, repeating in each answer what they have said before."""


@dataclass(frozen=True)
class Arm:
    """algorithm: with its settings. settings: of the run, beside the table's. user: from Python."""

    algorithm: Any
    settings: dict[str, Any] = field(default_factory=dict)
    user: User | None = None


LONG: dict[str, Any] = dict(max_turns=8, max_context_tokens=WINDOW, context_overflow="drop_oldest")
OFTEN = dict(num_envs=42, episodes=42 * VISITS)
ARMS = {
    "right": Arm(MEMORY, dict(words_in_context=False)),
    "beyond": Arm(MEMORY, LONG, Stays()),
    "beyond, words": Arm(PPO, LONG, Stays()),
    "beyond, pinned": Arm(PPO, LONG, StaysAndPins()),
    "back": Arm(MEMORY, OFTEN, ReturningUser(SimulatedUser(), VISITS)),
    "back, words": Arm(PPO, OFTEN, ReturningUser(SimulatedUser(), VISITS)),
}


def main() -> None:
    arguments = parse(__doc__, ARMS, BASE.updates, "runs/memory", "lines.jsonl", "2 updates of 12 dialogues")
    if arguments.quick:
        arguments.updates, arguments.episodes = 2, 24
    for seed in arguments.seed:
        for name in arguments.arm:
            line = {"arm": name, "seed": seed, "figures": run(name, seed, arguments)}
            keep(arguments.out, [line])
            sys.stderr.write(f"{line}\n")
    if arguments.show or not arguments.arm:
        Console().print(table(kept(arguments.out)))


def run(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Train an arm and play unseen dialogues: figures by name, each a mean and half the width of its 95% interval."""
    arm, folder = ARMS[name], arguments.runs / f"{name.replace(', ', '-')}-{seed}"
    config = replace(BASE, updates=arguments.updates, seed=seed, out=str(folder), **arm.settings)
    if arguments.quick:
        config = replace(config, episodes=12, num_envs=4 if "back" in name else 12)
    train(config, arm.algorithm, user=arm.user)
    count = arguments.episodes
    opened = open_run(folder, num_envs=count // VISITS if "back" in name else count, user=arm.user)
    env, actor = opened.env, opened.actor(0)
    if "back" in name:
        batch = collect(env, actor, env.num_envs * VISITS, seed=0)  # row by row, and in a row in order
        return {f"first turn, visit {visit + 1}": mean(rated(batch, 1, 1)[visit::VISITS]) for visit in range(VISITS)}
    examples = draw_examples(env, count, 0)
    play: dict[str, Any] = dict(examples=examples, seed=0)
    batch = collect(env, actor, count, **play)
    if name != "right":
        return {"turns 2 to 4": mean(rated(batch, 2, 4)), "turns 5 to 8": mean(rated(batch, 5, 8))}
    assert isinstance(actor, MemoryActor)
    sizes: dict[str, Any] = dict(note_tokens=actor.width, kept_notes=actor.kept)
    none = collect(env, MemoryActor(opened.policy, 0, **sizes, write=False), count, **play)
    written = batch.notes_of(torch.arange(len(batch), device=env.device).roll(1))
    assert written is not None
    others = collect(env, SomebodyElses(opened.policy, 0, written, **sizes), count, **play)
    return {memory: mean(rated(b, 2, 99)) for memory, b in (("own", batch), ("none", none), ("another's", others))}


class SomebodyElses(MemoryActor):
    """Has in each row the words of another dialogue, from the turns on at which its own user says something.

    Args:
        written: (B, C, W) the notes of the other dialogues; where they are fewer, the first stands again.
    """

    def __init__(self, policy: Any, seed: int, written: Notes, **sizes: Any):
        self.written, self.part = written, -2  # of the batch: `forget` is called once here, and before each part
        super().__init__(policy, seed, **sizes)

    def forget(self) -> None:
        super().forget()
        self.part += 1

    def _write(self, rows: Sequence[int]) -> None:
        super()._write(rows)
        assert self.notes is not None
        own, size = self.notes.present, len(self.notes.tokens)
        at = torch.arange(self.part * size, (self.part + 1) * size, device=own.device) % len(self.written.tokens)
        written = self.written.take(at)
        tokens = torch.where(written.present.unsqueeze(-1), written.tokens, written.tokens[:, :1])
        labels = torch.where(written.present, written.labels, written.labels[:, :1])
        own = own & (tokens[..., 0] >= 0)  # the other user may have said nothing
        self.notes = Notes(tokens.masked_fill(~own.unsqueeze(-1), -1), labels, self.notes.begins)


def rated(batch: Trajectories, first: int, last: int) -> list[float | None]:
    """The mean rating of each dialogue in turns `first` to `last`, counted from 1; None if it had none of them."""
    out = []
    for talk in batch.dialogues:
        assert talk is not None
        ratings = [turn["rating"] for turn in talk[2::2]][first - 1 : last]
        out.append(statistics.fmean(ratings) if ratings else None)
    return out


def mean(ratings: Iterable[float | None]) -> list[float]:
    """Mean of those that there are, and half the width of its 95% interval."""
    known = [rating for rating in ratings if rating is not None]
    half = 1.96 * statistics.stdev(known) / math.sqrt(len(known)) if len(known) > 1 else math.inf
    return [statistics.fmean(known), half]


def table(lines: list[dict[str, Any]]) -> Table:
    """A figure a row: mean over seeds and its interval, of one seed that over its dialogues."""
    shown = Table("arm", "figure", "seeds", "rating, 95% interval")
    for arm in ARMS:
        of_arm = [line["figures"] for line in lines if line["arm"] == arm]
        for name in of_arm[0] if of_arm else ():
            means, halves = zip(*(figures[name] for figures in of_arm), strict=True)
            half = halves[0]
            if len(means) > 1:
                half = t_quantile(len(means) - 1) * statistics.stdev(means) / len(means) ** 0.5
            shown.add_row(arm, name, str(len(means)), f"{statistics.fmean(means):+.2f} ± {half:.2f}")
    return shown


if __name__ == "__main__":
    main()
