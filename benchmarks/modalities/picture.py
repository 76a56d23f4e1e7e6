"""Does it see? `python -m benchmarks.modalities picture --seed 0`: answers about pictures of things never shown before.

Four agents answer four questions about each thing of the eval split of `dyngen/Picture-v0`:

- blind: the best constant answer to each question, found on the train split; no text-only agent does better there;
- nearest: what would be right of the train split's picture with the nearest pixels;
- warm-up: `pictures-lm`, which has learned the train split supervised;
- PPO: the same after reinforcement learning on the train split.

The last two draw their answers, as they do in training; each question is played `ROUNDS` times. "greedy" is the
likeliest answer. Intervals of 95% are over things, whose questions count together. `--json` adds the table's rows to a
file, `--png` draws twelve things, evenly from all, with the likeliest answers of PPO's first seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from textwrap import shorten
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.modalities._picture_baselines import blind_answers, nearest_answers, pixels_of
from dyngen_agents import PPOConfig, TrainConfig, train
from dyngen_agents.data.rollout import collect
from dyngen_agents.evaluation.intervals import half_interval
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.runs.environment import make_env
from dyngen_env.lm import load_model
from dyngen_env.scoring.said import foreign_share, said_f1
from dyngen_env.tasks.pictures import COLOURS, KIND, NAME, picture_questions
from dyngen_env.types import Example

SETTINGS = TrainConfig(env="dyngen/Picture-v0", num_envs=256, episodes=256, updates=80)
ALGORITHM = PPOConfig(learning_rate=5e-4, kl_coef=0.01)
ROUNDS = 4
QUESTIONS = {NAME: "name", KIND: "kind", COLOURS: "colours"}  # any other is answered by yes or no
COLUMNS = (*QUESTIONS.values(), "yes or no", "all")
DRAWN = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--updates", type=int, default=SETTINGS.updates)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--split", choices=("tune", "eval"), default="eval", help="tune: what settings were chosen on")
    parser.add_argument("--quick", action="store_true", help="2 updates of 32 episodes, 40 things: to see that it runs")
    parser.add_argument("--runs", type=Path, default=Path("runs/modalities"))
    parser.add_argument("--json", type=Path, help="a file to add the rows to, a line each")
    parser.add_argument("--png", type=Path, help="the picture of twelve pictures to write")
    arguments = parser.parse_args()
    asked = list(picture_questions(arguments.split))
    if arguments.quick:
        asked = asked[:160]
    rows = [
        row("blind", asked, [blind_answers(picture_questions("train"), asked)]),
        row("nearest", asked, [nearest_answers(asked)]),
        row("warm-up", asked, played(None, asked, ROUNDS)),
        row("warm-up, greedy", asked, played(None, asked, 0)),
    ]
    for seed in arguments.seed:
        begun = time.monotonic()
        run = trained(seed, arguments)
        minutes = (time.monotonic() - begun) / 60
        greedy = played(run, asked, 0)
        rows += [
            row("PPO", asked, played(run, asked, ROUNDS)) | dict(seed=seed, minutes=round(minutes, 1)),
            row("PPO, greedy", asked, greedy) | dict(seed=seed),
        ]
        if arguments.png and seed == arguments.seed[0]:
            draw(asked, greedy[0]).savefig(arguments.png, dpi=110)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        with arguments.json.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in rows)
    Console().print(table(rows))


def trained(seed: int, arguments: argparse.Namespace) -> Path:
    """The folder of a run; one that is there already is not made again."""
    small: dict[str, Any] = dict(updates=2, episodes=32, num_envs=32) if arguments.quick else {}
    config = replace(SETTINGS, seed=seed, threads=arguments.threads, **{"updates": arguments.updates, **small})
    folder = arguments.runs / f"picture-{seed}-{config.updates}"
    if not (folder / "run.json").exists():
        train(replace(config, out=str(folder)), ALGORITHM)
    return folder


def played(run: Path | None, asked: Sequence[Example], rounds: int) -> list[list[str]]:
    """What a run's policy, or the untrained one, answers in each of some rounds; 0 rounds: the likeliest answers."""
    env = make_env(SETTINGS, SETTINGS.num_envs, "eval")
    policy = CausalLMPolicy(load_model(str(run or env.model)), env.token_distribution())
    actor = Actor(policy, seed=1, deterministic=not rounds)
    return [list(collect(env, actor, len(asked), examples=list(asked), seed=1).texts) for _ in range(max(1, rounds))]


def row(agent: str, asked: Sequence[Example], rounds: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Mean F1 by question and over all, each with half of its interval, and the share of foreign words."""
    scores: dict[str, list[float]] = defaultdict(list)
    things: dict[str, list[int]] = defaultdict(list)
    strays = []
    for answers in rounds:
        for number, (example, text) in enumerate(zip(asked, answers, strict=True)):
            for column in (QUESTIONS.get(example.prompt, "yes or no"), "all"):
                scores[column].append(said_f1(text, example.facts.phrases, example.facts.wrong))
                things[column].append(number // 4)
            strays.append(foreign_share(text, example.facts.foreign))
    figures = {
        column: dict(mean=fmean(scores[column]), half=half_interval(scores[column], things[column]))
        for column in COLUMNS
    }
    sys.stderr.write(f"{agent}: {figures['all']['mean']:.3f} ± {figures['all']['half']:.3f}\n")
    return dict(agent=agent, things=len(asked) // 4, f1=figures, foreign=fmean(strays))


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """A row an agent, PPO's one a seed."""
    shown = Table("agent", "seed", *COLUMNS, "foreign", "minutes", title=f"F1, {rows[0]['things']} unseen things")
    for line in rows:
        cells = [f"{line['f1'][column]['mean']:.3f} ± {line['f1'][column]['half']:.3f}" for column in COLUMNS]
        shown.add_row(
            line["agent"], str(line.get("seed", "")), *cells, f"{line['foreign']:.3f}", str(line.get("minutes", ""))
        )
    return shown


def draw(asked: Sequence[Example], answers: Sequence[str]) -> Figure:
    """Twelve things, evenly from all, with what was said of them: green where it is right, red where nothing is."""
    figure = Figure(figsize=(12, 8.4))
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.11, hspace=0.62)
    for number, axes in enumerate(figure.subplots(3, DRAWN // 3).flat):
        first = 4 * (number * (len(asked) // 4) // DRAWN)
        some = range(first, first + 4)
        axes.imshow(pixels_of(asked[some[0]]), interpolation="nearest")
        axes.set_axis_off()
        for line, i in enumerate(some):
            f1 = said_f1(answers[i], asked[i].facts.phrases, asked[i].facts.wrong)
            colour = "#1a7f37" if f1 == 1 else "#9a6700" if f1 else "#cf222e"
            said = f"{asked[i].prompt} {answers[i].strip() or '(nothing)'}"
            axes.text(0.5, -0.06 - 0.1 * line, said, color=colour, fontsize=8.5, ha="center", transform=axes.transAxes)
        reference = shorten(asked[some[0]].reference or "", 36, placeholder=" ...")
        axes.set_title(f"({reference})", fontsize=8, color="#57606a")
    return figure


if __name__ == "__main__":
    main()
