"""Is one policy for two tasks as good as one for each? `python -m benchmarks.modalities mix --seed 0`.

One model learns by PPO in dyngen/Sentiment-v0 and dyngen/Dialogue-v0, in each by itself, and in the mixture of them
with the updates of both together: equal budgets. All three pay rewards by the same scales, with the same settings.
Then each policy, and the model as it was, plays unseen episodes of every task with equal random numbers.

The table has a row for what a policy was trained on and a column for the task that it played: mean return in the task's
own units. Below is what the mixture has gained of what the single-task policy gained, in percent.

`--seed 0 1 2` measures them one after the other; `--show a.json b.json`
prints the table of several files that `--json` has written.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import machine, versions
from dyngen_agents import Actor, CausalLMPolicy, PPOConfig, TrainConfig, collect, train
from dyngen_agents.evaluation.intervals import half_interval, t_quantile
from dyngen_agents.runs.environment import draw_examples, make_env
from dyngen_agents.runs.tasks import by_task, tasks_of
from dyngen_env.lm import load_model

TASKS = {"Sentiment": "dyngen/Sentiment-v0", "Dialogue": "dyngen/Dialogue-v0"}
MIXTURE, UNTRAINED = "mixture", "untrained"

Row = dict[str, Any]  # seed, trained_on, task, mean, ci95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--model", default="dialogue-lm", help="where learning begins")
    parser.add_argument("--updates", type=int, default=30, help="of each single task; the mixture has twice these")
    parser.add_argument("--episodes", type=int, default=256, help="unseen ones that each policy plays of each task")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--kl-coef", type=float, default=0.02)
    parser.add_argument("--task-weights", choices=("fixed", "progress"), default="fixed")
    parser.add_argument("--runs", type=Path, default=Path("runs/mix"))
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="2 updates of 24 episodes: to see that it runs")
    parser.add_argument(
        "--show", type=Path, nargs="+", default=[], help="measure nothing, print the rows of such files"
    )
    arguments = parser.parse_args()
    rows: list[Row] = [row for path in arguments.show for row in json.loads(path.read_text())["rows"]]
    for seed in () if arguments.show else arguments.seed:
        rows += measured(seed, arguments)
        if arguments.json:
            report = {"rows": rows, "machine": machine("cpu"), "versions": versions()}
            arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    for shown in (matrix(rows), gains(rows)):
        Console().print(shown)


def measured(seed: int, arguments: argparse.Namespace) -> list[Row]:
    """Train all policies with a seed, and let each play every task."""
    updates, size = (2, 24) if arguments.quick else (arguments.updates, 128)
    algorithm = PPOConfig(learning_rate=arguments.learning_rate, kl_coef=arguments.kl_coef)
    episodes = 24 if arguments.quick else arguments.episodes
    rows = played(UNTRAINED, arguments.model, seed, episodes)
    for name in (*TASKS, MIXTURE):
        folder = arguments.runs / f"{name}-{seed}"
        whole = name == MIXTURE
        config = TrainConfig(
            env="dyngen/Mix-v0",
            model=arguments.model,
            tasks=" + ".join(TASKS.values()) if whole else TASKS[name],
            updates=updates * (len(TASKS) if whole else 1),
            task_weights=arguments.task_weights if whole else "fixed",
            num_envs=size,
            episodes=size,
            seed=seed,
            out=str(folder),
        )
        train(config, algorithm)
        rows += played(name, str(folder), seed, episodes)
        sys.stderr.write(f"seed {seed}: {[row for row in rows if row['trained_on'] == name]}\n")
    return rows


def played(name: str, model: str, seed: int, episodes: int) -> list[Row]:
    """What a policy earns in each task, with the window of dyngen/Mix-v0.

    Args:
        name: what it was trained on. model: its folder. episodes: of each task.
    """
    config = TrainConfig(env="dyngen/Mix-v0", model=model, tasks=" + ".join(TASKS.values()))
    env = make_env(config, episodes, "eval")
    examples = draw_examples(env, episodes * len(TASKS), 0)
    actor = Actor(CausalLMPolicy(load_model(model), env.token_distribution()), 0)
    batch = collect(env, actor, len(examples), examples=examples, seed=0)
    returns, rows = batch.episode_returns.double().numpy(), []
    for task, of_task in by_task(batch, tasks_of(config)):
        own, prompts = task.scale * returns[of_task.numpy()], [batch.prompts[row] for row in of_task.tolist()]
        label = next(label for label, name in TASKS.items() if name == task.name)
        rows.append(
            dict(seed=seed, trained_on=name, task=label, mean=float(own.mean()), ci95=half_interval(own, prompts))
        )
    return rows


def matrix(rows: Sequence[Row]) -> Table:
    """Mean return by what a policy was trained on and by the task that it played."""
    shown = Table("trained on", *TASKS, title="mean return of unseen episodes, 95% interval")
    for name in (UNTRAINED, *TASKS, MIXTURE):
        of_policy = {task: [row for row in rows if (row["trained_on"], row["task"]) == (name, task)] for task in TASKS}
        shown.add_row(name, *(_mean([row["mean"] for row in own], own[0]["ci95"]) for own in of_policy.values()))
    return shown


def gains(rows: Sequence[Row]) -> Table:
    """What the mixture gained over the untrained model, in percent of what the policy of the single task did."""
    of = {(row["seed"], row["trained_on"], row["task"]): row["mean"] for row in rows}
    shown = Table("", *TASKS, title="gain of the mixture, in percent of the single task's")
    seeds = sorted({row["seed"] for row in rows})
    shares: dict[str, list[float]] = {task: [] for task in TASKS}
    for task, seed in product(TASKS, seeds):
        before, single, mixed = (of[seed, name, task] for name in (UNTRAINED, task, MIXTURE))
        shares[task].append(100 * (mixed - before) / (single - before) if single != before else math.nan)
    for i, seed in enumerate(seeds):
        shown.add_row(f"seed {seed}", *(f"{own[i]:.0f}" for own in shares.values()))
    shown.add_row("mean", *(f"{statistics.fmean(own):.0f}" for own in shares.values()))
    return shown


def _mean(means: Sequence[float], half: float) -> str:
    """A mean over seeds with its interval; of one seed with that over its episodes."""
    if len(means) > 1:
        half = t_quantile(len(means) - 1) * statistics.stdev(means) / len(means) ** 0.5
    return f"{statistics.fmean(means):+.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
