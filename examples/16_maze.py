"""A maze that answers in words, walked by the best policy and by chance: states and moves are text. Some seconds.

    python examples/16_maze.py --steps 60

`dyngen/Maze-v0` is the fully observed maze of LMRL-Gym. An agent that learns begins with `maze-lm`, which walks as
chance does: dyngen train ppo --env dyngen/Maze-v0
"""

import argparse

import gymnasium as gym
import numpy as np

import dyngen_env  # noqa: F401  registers the ids
from dyngen_env.scoring.worlds.maze import BEST_MOVES, MOVES, describe

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=60, help="moves that the random policy makes")
steps = parser.parse_args().steps

env = gym.make("dyngen/Maze-v0").unwrapped
tokenizer, rng = env.batch.tokenizer, np.random.default_rng(0)
end_of_turn = min(tokenizer.end_ids)
best = {describe(position): move for position, move in BEST_MOVES.items()}  # what to do in each state, as text


def walk(choose, moves):
    """Moves from one place until the goal: a move is a turn of the agent, some tokens and the end of the turn."""
    state = describe((1, 1))
    env.reset(seed=0, options={"prompt": state})
    total = 0.0
    for number in range(1, moves + 1):
        for token in [*tokenizer.encode(choose(state)), end_of_turn]:
            _, reward, terminated, _, info = env.step(token)
            total += reward
        if terminated:
            return number, total, info
        state = env.batch.dialogues[0].feedback[-1].text
    return number, total, {"finish_reason": "not yet"}


number, total, info = walk(best.get, 100)
for turn in info["dialogue"]:
    print(f"{turn['role']:>5}: {turn['text']}")
print(f"the best policy: {number} moves, return {total:.0f}, {info['finish_reason']}")
number, total, info = walk(lambda state: rng.choice(list(MOVES)), min(steps, 100))
print(f"at random: {number} moves, return {total:.0f}, {info['finish_reason']}")
