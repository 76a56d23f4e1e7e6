"""PPO on two published tasks: the fully observed maze of LMRL-Gym, and the random walks of trlX.

    python -m benchmarks.fusion tasks --task walk --seed 0 1 2
    python -m benchmarks.fusion tasks --task maze

The policy begins as maze-lm or walk-lm, which has read scripted, mostly random behaviour. It is evaluated as the tasks
are: 32 episodes from every start (25 and 20), sampled at temperature 1 from all legal tokens, no choice of moves given.
In the maze it practises in episodes of 30 moves, which cost a quarter, and is evaluated in whole ones of 100.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dyngen_agents import PPOConfig, TrainConfig, train
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.runs.environment import make_env
from dyngen_env.lm import load_model
from dyngen_env.tasks import Prompts

EPISODES_OF_A_START = 32


@dataclass(frozen=True)
class PublishedTask:
    """A task, how PPO learns it here, and what others have reported."""

    settings: TrainConfig
    algorithm: PPOConfig
    published: str


TASKS = {
    "walk": PublishedTask(
        TrainConfig(env="dyngen/RandomWalk-v0", updates=60),
        PPOConfig(learning_rate=1e-3, kl_coef=0.005),
        "optimality; the behaviour that walk-lm has read 0.35, a shortest walk 1",
    ),
    "maze": PublishedTask(
        TrainConfig(env="dyngen/Maze-v0", updates=60, episodes=64, num_envs=64, max_turns=30),
        PPOConfig(learning_rate=7e-4, kl_coef=0.0, gamma=0.99, minibatch_size=16, scale_values=True),
        "return; LMRL-Gym: BC -72.1, MC -48.1, PPO -37.7, ILQL -6.97, the optimum -6.84",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, nargs="+", default=list(TASKS))
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--updates", type=int, help="instead of the task's own number")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="2 updates, 1 episode a start: to see that it runs")
    parser.add_argument("--runs", type=Path, default=Path("runs/fusion"))
    arguments = parser.parse_args()
    table = Table("task", "seed", "untrained", "PPO", "minutes", "published")
    for name in arguments.task:
        task = TASKS[name]
        count = 1 if arguments.quick else EPISODES_OF_A_START
        before = mean_return(task.settings, None, count)
        scores = []
        for seed in arguments.seed:
            updates = 2 if arguments.quick else arguments.updates or task.settings.updates
            run, minutes = trained(task, name, seed, updates, arguments.threads, arguments.runs)
            scores.append(mean_return(task.settings, run, count))
            sys.stderr.write(f"{name}, seed {seed}: {before:.3f} -> {scores[-1]:.3f} in {minutes:.1f} minutes\n")
            table.add_row(name, f"{seed}", f"{before:.3f}", f"{scores[-1]:.3f}", f"{minutes:.1f}", task.published)
        if len(scores) > 1:
            table.add_row(name, "mean", "", f"{statistics.mean(scores):.3f}", "", "")
    Console().print(table)


def trained(task: PublishedTask, name: str, seed: int, updates: int, threads: int, runs: Path) -> tuple[Path, float]:
    """The folder of a run, and how many minutes it took; one that is there already is not made again."""
    folder, started = runs / f"tasks-{name}-{seed}-{updates}", time.monotonic()
    if not (folder / "run.json").exists():
        train(replace(task.settings, seed=seed, updates=updates, threads=threads, out=str(folder)), task.algorithm)
    return folder, (time.monotonic() - started) / 60


def mean_return(config: TrainConfig, run: Path | None, count: int) -> float:
    """Of `count` episodes from each start, by a run's policy, or by the untrained one."""
    env = make_env(replace(config, max_turns=None), config.num_envs, "eval")  # the id's own number
    assert isinstance(env.task, Prompts)
    lm = load_model(str(run or env.model))
    actor = Actor(CausalLMPolicy(lm, env.token_distribution()), seed=1)
    starts = list(env.task.examples) * count
    return float(collect(env, actor, len(starts), examples=starts, seed=1).episode_returns.mean())


if __name__ == "__main__":
    main()
