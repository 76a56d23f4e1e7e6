"""What values by forks are worth: PPO with a critic against VinePPO, as many tokens each, with the reward at the end.

    python -m benchmarks.vine --updates 10 --seed 0

reviews-lm in dyngen/Sentiment-v0, whose sentiment both are paid with the last token alone (`--credit end`). VinePPO
makes so many updates; PPO goes on until it has been given as many tokens, those of forks counted. A line of the table
also says how well the values of the last five updates foretold the returns, 1 − Var(G − V)/Var(G), in which G is what
one episode happened to return; the tokens; and minutes of training.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dyngen_agents import PPOConfig, TrainConfig, VineConfig, evaluate, read_metrics, train

HELD_OUT = 256  # prompts of the evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=20, help="of VinePPO")
    parser.add_argument("--episodes", type=int, default=64, help="of an update of either")
    parser.add_argument("--forks", type=int, default=VineConfig.forks)
    parser.add_argument("--every", type=int, default=VineConfig.fork_every, help="tokens from one fork to the next")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one update of 8 episodes: to see that it runs")
    parser.add_argument("--runs", type=Path, default=Path("runs/vine"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.updates, arguments.episodes = 1, 8
    table = Table("", "seed", "updates", "tokens", "reward", "nats an episode", "values foretell", "minutes")
    for seed in arguments.seed:
        settings = TrainConfig(
            seed=seed, credit="end", threads=arguments.threads, num_envs=arguments.episodes, episodes=arguments.episodes
        )
        forks = VineConfig(forks=arguments.forks, fork_every=arguments.every)
        tried = replace(settings, updates=arguments.updates, out=str(arguments.runs / f"vine-{seed}"))
        vine = figures(tried, forks)
        table.add_row(*row("VinePPO", seed, vine))
        # How long an episode is changes as it learns: as many as there would be at the untrained model's length.
        updates = max(1, round(vine["tokens"] / vine["first"]))
        tried = replace(settings, updates=updates, out=str(arguments.runs / f"ppo-{seed}"))
        table.add_row(*row("PPO, as many tokens", seed, figures(tried, PPOConfig())))
        tried = replace(settings, updates=arguments.updates, out=str(arguments.runs / f"ppo-same-{seed}"))
        table.add_row(*row("PPO, as many updates", seed, figures(tried, PPOConfig())))
    Console().print(table)


def figures(settings: TrainConfig, algorithm: PPOConfig | VineConfig) -> dict[str, Any]:
    """A run's figures; "first": the tokens of the first update, without those of forks."""
    started = time.monotonic()
    run = train(settings, algorithm)
    minutes = (time.monotonic() - started) / 60
    metrics = read_metrics(run)
    tokens = [settings.episodes * record["length"] for record in metrics]
    return {
        "updates": len(metrics),
        "tokens": sum(tokens) + sum(record.get("fork_tokens", 0) for record in metrics),
        "first": tokens[0],
        "foretells": statistics.mean(record["explained_variance"] for record in metrics[-5:]),
        "minutes": minutes,
        **evaluate(run, HELD_OUT)["trained"],
    }


def row(name: str, seed: int, found: dict[str, Any]) -> list[str]:
    """A line of the table."""
    return [
        name, f"{seed}", f"{found['updates']}", f"{found['tokens']:,.0f}",
        f"{found['reward_mean']:.3f} ± {found['reward_ci95']:.3f}",
        f"{found['kl_per_episode']:.2f} ± {found['kl_per_episode_ci95']:.2f}",
        f"{found['foretells']:.2f}", f"{found['minutes']:.1f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
