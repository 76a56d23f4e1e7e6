"""Offline learning in the two small published worlds: cloning, cloning of the best, and ILQL, from scripted behaviour.

    python -m benchmarks.fusion offline maze                  # three arms; --quick for fewer updates and rollouts
    python -m benchmarks.fusion offline random_walk

The maze is evaluated as LMRL-Gym's table is: the policy generates freely, no moves are reranked, 32 rollouts from each
of the 25 places. Published there (returns): BC -72.1, %BC -56.4, ILQL -6.97; the best policy has -6.84. The walks are
evaluated by their mean optimality over all 20 starts; the behaviour has 0.35.

Every arm begins with the world's model (`maze-lm`, `walk-lm`), which is itself a clone of this behaviour: it is the arm
"BC". Settings in the maze are those of LMRL-Gym (τ 0.95, γ 0.99) but for β, the learning rate, a little CQL, and pieces
of three moves instead of whole episodes: what matters is the number of gradient steps, as the value of the goal travels
a token at a time. Imitation weighs a twentieth: at its full weight it is nearly all of the model's gradient, and values
learn where one is, but not which move is better there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dyngen_agents.algorithms.algorithm import AlgorithmConfig
from dyngen_agents.algorithms.behaviour_cloning import BehaviourCloningConfig
from dyngen_agents.algorithms.q_learning import QLearningConfig
from dyngen_agents.data.episodes import Episode, write_episodes
from dyngen_agents.data.rollout import collect
from dyngen_agents.evaluation.intervals import half_interval
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.q_policy import QPolicy
from dyngen_agents.pretraining.behaviour import BEHAVIOUR, with_tokens
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.environment import make_env
from dyngen_agents.runs.opened_run import open_run
from dyngen_agents.training.train import train
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.scoring.worlds import maze, random_walk
from dyngen_env.text.huggingface import adapted
from dyngen_env.types import Example


@dataclass(frozen=True)
class World:
    """A world, its starts, its behaviour, and how long is learned from that.

    Args:
        rows: of the env in evaluation. episodes: of behaviour. batch: episodes of an update.
        updates: of ILQL, and of cloning the best.
    """

    env: str
    starts: Sequence[str]
    rollouts: int
    rows: int
    episodes: int
    batch: int
    updates: int
    cloning_updates: int
    ilql: QLearningConfig
    beta: float


WORLDS = {
    "maze": World(
        env="dyngen/Maze-v0",
        starts=[maze.describe(place) for place in maze.STARTS],
        rollouts=32,
        rows=200,
        episodes=300,
        batch=512,  # pieces of episodes
        updates=180,
        cloning_updates=1,
        ilql=QLearningConfig(
            learning_rate=1e-3,
            minibatch_size=16,
            tau=0.95,
            gamma=0.99,
            polyak=0.02,
            cql_coef=0.005,
            bc_coef=0.05,
            piece_turns=3,
            beta=4.0,
        ),
        beta=4.0,
    ),
    "random_walk": World(
        env="dyngen/RandomWalk-v0",
        starts=random_walk.STARTS,
        rollouts=32,
        rows=640,
        episodes=1000,
        batch=128,
        updates=150,
        cloning_updates=100,
        ilql=QLearningConfig(
            learning_rate=1e-3, minibatch_size=128, tau=0.9, gamma=0.99, polyak=0.05, cql_coef=0.1, beta=20.0
        ),
        beta=20.0,
    ),
}


def behaviour(name: str, count: int, seed: int) -> list[Episode]:
    """Recorded episodes of a world with their tokens. What was paid: in the maze the ratings, on walks their reward."""
    model, played = BEHAVIOUR[name]
    return with_tokens(played(count, seed), adapted(load_tokenizer(model)), model)


def evaluated(world: World, policy: CausalLMPolicy, rollouts: int, seed: int) -> dict[str, float]:
    """Mean return from every start, half its 95% interval over starts and rollouts, and the share that ends well."""
    config = TrainConfig(env=world.env)
    examples = [Example(start) for start in world.starts for _ in range(rollouts)]
    env = make_env(config, min(world.rows, len(examples)), "train")
    batch = collect(env, Actor(policy, seed), len(examples), examples=examples, seed=seed)
    returns = batch.episode_returns.double().numpy()
    ended = sum(reason in ("goal", "stop") for reason in batch.finish_reasons) / len(batch)
    half = half_interval(returns, list(range(len(returns))))
    return {"return": float(returns.mean()), "ci95": half, "ended": ended}


def learned(world: World, algorithm: AlgorithmConfig, updates: int, data: Path, out: Path, seed: int) -> CausalLMPolicy:
    """The policy after a run, as it acts."""
    config = TrainConfig(
        env=world.env, data=str(data), updates=updates, episodes=world.batch, num_envs=world.batch, seed=seed,
        threads=1, save_every=10**6, out=str(out),
    )  # fmt: skip
    return open_run(train(config, algorithm)).policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--arms", nargs="+", default=["BC", "%BC", "ILQL"], choices=["BC", "%BC", "ILQL"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, help="of ILQL")
    parser.add_argument("--rollouts", type=int, help="from each start")
    parser.add_argument("--quick", action="store_true", help="a tenth of the updates, two rollouts")
    args = parser.parse_args()
    torch.set_num_threads(1)
    world = WORLDS[args.world]
    if args.quick:
        world = replace(world, updates=world.updates // 10, cloning_updates=world.cloning_updates // 10, rollouts=2)
    world = replace(world, updates=args.updates or world.updates, rollouts=args.rollouts or world.rollouts)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "behaviour.jsonl"
        write_episodes(data, behaviour(args.world, world.episodes, args.seed))
        for arm in args.arms:
            started = time.monotonic()
            if arm == "BC":
                env = make_env(TrainConfig(env=world.env), 1, "train")
                policy = CausalLMPolicy(load_model(BEHAVIOUR[args.world][0]), env.token_distribution())
            elif arm == "%BC":
                cloning = BehaviourCloningConfig(top_fraction=0.1, minibatch_size=world.ilql.minibatch_size)
                policy = learned(world, cloning, world.cloning_updates, data, Path(folder) / "cloning", args.seed)
            else:
                policy = learned(world, world.ilql, world.updates, data, Path(folder) / "ilql", args.seed)
                assert isinstance(policy, QPolicy)
                policy.beta = world.beta
            seconds = time.monotonic() - started
            found = evaluated(world, policy, world.rollouts, args.seed)
            print(json.dumps({"world": args.world, "arm": arm, "seed": args.seed, **found, "seconds": round(seconds)}))
