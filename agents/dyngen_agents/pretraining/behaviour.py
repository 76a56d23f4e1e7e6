"""Episodes of scripted behaviour in the two small worlds, as recorded episodes: what offline learning begins with.

    python -m dyngen_agents.pretraining.behaviour maze --episodes 1000 --out maze.jsonl
    python -m dyngen_agents.pretraining.behaviour random_walk --episodes 1000 --out walks.jsonl
    dyngen train q --env dyngen/Maze-v0 --data maze.jsonl

They are made as those of the published tasks. In the maze (LMRL-Gym) three of four episodes are random walks and one is
half-good, so that an exact clone of this behaviour, which looks at the last state alone, has a return of -73.0; theirs
had -72.1. The walks on the graph (trlX) choose among the edges of a node with equal chances.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dyngen_agents.data.encoding import encoded_anew
from dyngen_agents.data.episodes import Episode, write_episodes
from dyngen_env.lm.loading.models import load_tokenizer
from dyngen_env.scoring.worlds import maze, random_walk
from dyngen_env.text.huggingface import adapted
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Dialogue, Example
from dyngen_env.users.maze import MazeUser

log = logging.getLogger(__name__)

HALF_GOOD = 0.5  # the share of a half-good walk's moves that are the best ones; the others are random


def maze_episodes(count: int, seed: int = 0, half_good: float = 0.25) -> list[Episode]:
    """Walks through the maze, each from a random place until the goal or for 100 moves.

    A random walk chooses among the four moves with equal chances, into walls too; its mean return is -85.1. A half-good
    one does so with half of its moves and takes the best move otherwise; -15.2.

    Args:
        half_good: the probability that an episode is a half-good one.
    """
    rng = np.random.default_rng(seed)
    return [_maze_episode(rng, HALF_GOOD if rng.random() < half_good else 0.0) for _ in range(count)]


def _maze_episode(rng: np.random.Generator, best: float) -> Episode:
    user, moves = MazeUser(), list(maze.MOVES)
    position = maze.STARTS[rng.integers(len(maze.STARTS))]
    example = Example(maze.describe(position))
    talk = Dialogue(example, position)
    while not (talk.feedback and talk.feedback[-1].ends) and len(talk.completions) < maze.MAX_MOVES:
        move = maze.BEST_MOVES[position] if rng.random() < best else moves[rng.integers(len(moves))]
        position = maze.after(position, move)
        talk = talk.said(move)
        talk = talk.heard(user.reply([talk], [rng])[0])
    reason = "goal" if position == maze.GOAL else "turns"
    policy = "half-good" if best else "random"
    return Episode(example, talk.completions, talk.feedback, True, reason, policy)


def walk_episodes(count: int, seed: int = 0) -> list[Episode]:
    """Random walks on the graph, each from a random node to "a", but of 10 nodes at most. Mean optimality: 0.35."""
    rng = np.random.default_rng(seed)
    return [_walk_episode(rng) for _ in range(count)]


def _walk_episode(rng: np.random.Generator) -> Episode:
    walk = random_walk.STARTS[rng.integers(len(random_walk.STARTS))]
    while walk[-1] != random_walk.GOAL and len(walk) < random_walk.MAX_NODES:
        ends = random_walk.EDGES[walk[-1]]
        walk += ends[rng.integers(len(ends))]
    reason = "stop" if len(walk) < random_walk.MAX_NODES else "length"
    worth = random_walk.optimality(walk)
    return Episode(Example(walk[0]), (walk[1:],), finish_reason=reason, policy="random", reward=worth)


BEHAVIOUR: dict[str, tuple[str, Callable[[int, int], list[Episode]]]] = {  # by name: the env's model, and its episodes
    "maze": ("maze-lm", maze_episodes),
    "random_walk": ("walk-lm", walk_episodes),
}


def with_tokens(episodes: Sequence[Episode], tokenizer: Tokenizer, model: str) -> list[Episode]:
    """The same episodes with their ids in the vocabulary of `model`, as the env would have written them."""
    return [replace(episode, tokens=encoded_anew(episode, tokenizer, model, ended=True)) for episode in episodes]


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=BEHAVIOUR)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the file to write, a line for each episode")
    args = parser.parse_args()
    model, played = BEHAVIOUR[args.world]
    episodes = with_tokens(played(args.episodes, args.seed), adapted(load_tokenizer(model)), model)
    write_episodes(args.out, episodes)
    log.info("%d episodes in %s", len(episodes), args.out)


if __name__ == "__main__":
    main()
