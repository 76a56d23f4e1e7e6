"""What it costs to hear instead of to read: `python -m benchmarks.modalities spoken --hears transcript --seed 0`.

The same agent is trained in dyngen/Dialogue-v0 with the same user, whose words it reads ("text"), reads as a recogniser
wrote them down ("transcript"), hears ("sound") or does not get to know ("deaf"). Settings and measure are those of
`benchmarks.dialogue`: the mean rating in turns 2 and later, of 384 dialogues with unseen prompts. Who listens is
evaluated on voices that were not heard in training (`voices='eval'`) and, beside it, on those that were. Seven minutes
on an idle core. For "sound", `--model FOLDER` names what `python -m dyngen_agents.pretraining.make_hearing_lm --out
FOLDER` has made.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import machine, versions
from dyngen_agents import PPOConfig, TrainConfig, evaluate, train
from dyngen_env.users import make_user

USERS = {
    "text": "simulated",
    "transcript": "spoken(simulated{})",
    "sound": "spoken(simulated, 'sound'{})",
    "deaf": "muted(simulated)",
}
SPEAK = ("transcript", "sound")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hears", required=True, choices=list(USERS))
    parser.add_argument("--model", default="dialogue-lm", help="for sound: a folder with an encoder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--snr", type=float, default=20.0, help="of speech to noise, decibels")
    parser.add_argument("--recogniser", default="persona_sayings", help="that, or the folder of a Whisper model")
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--episodes", type=int, default=384, help="dialogues of each evaluation")
    parser.add_argument("--quick", action="store_true", help="two updates and 32 dialogues: for a look")
    parser.add_argument("--runs", type=Path, default=Path("runs/spoken"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.updates, arguments.episodes = 2, 32
    folder = arguments.runs / f"{arguments.hears}-{arguments.seed}"
    config = TrainConfig(
        env="dyngen/Dialogue-v0",
        model=arguments.model,
        updates=arguments.updates,
        user=user_of(arguments, "train"),
        seed=arguments.seed,
        out=str(folder),
    )
    train(config, PPOConfig(learning_rate=1e-3, kl_coef=0.02))
    rows = []
    for voices in ("eval", "train") if arguments.hears in SPEAK else ("",):
        user = make_user(user_of(arguments, voices)) if voices else None
        for agent, figures in evaluate(folder, arguments.episodes, user=user).items():
            rows.append(dict(hears=arguments.hears, seed=arguments.seed, voices=voices, agent=agent, **figures))
    if arguments.json:
        report = {"rows": rows, "machine": machine("cpu"), "versions": versions()}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    Console().print(table(rows))


def user_of(arguments: argparse.Namespace, voices: str) -> str:
    """The user that these arguments ask for, with voices of one set if they speak."""
    options = f", voices={voices!r}, snr={arguments.snr}, recogniser={arguments.recogniser!r}"
    return USERS[arguments.hears].format(options)


def table(rows: list[dict[str, Any]]) -> Table:
    """Mean rating in turns 2 and later, with the interval over dialogues."""
    shown = Table("hears", "seed", "voices", "agent", "turns 2 and later", "by turn")
    for row in rows:
        turns = ", ".join("-" if rating is None else f"{rating:+.1f}" for rating in row["rating_by_turn"])
        shown.add_row(
            row["hears"],
            str(row["seed"]),
            row["voices"] or "-",
            row["agent"],
            f"{row['rating_later']:+.2f} ± {row['rating_later_ci95']:.2f}",
            turns,
        )
    return shown


if __name__ == "__main__":
    main()
