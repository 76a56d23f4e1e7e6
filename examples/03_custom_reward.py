"""Your own reward: a function of the text, alone or added to what is there. A few seconds.

    python examples/03_custom_reward.py --steps 200

A reward is a function of text, f(text) or f(text, prompt, reference), an expression such as
"sentiment - 0.5*repetition", or a sum of both. `info["reward_terms"]` says at each end what every part paid.
"""

import argparse
from itertools import pairwise

import gymnasium as gym
import numpy as np

import dyngen_env  # noqa: F401  registers the ids
from dyngen_env.rewards import Sentiment, as_reward
from dyngen_env.wrappers import TopKActions

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=200, help="tokens to write")
steps = parser.parse_args().steps


def alliteration(text: str) -> float:
    """The share of neighbouring words that begin with the same letter."""
    words = text.lower().split()
    pairs = list(pairwise(words))
    return sum(a[0] == b[0] for a, b in pairs) / max(1, len(pairs))


rng = np.random.default_rng(0)
rewards = {
    "a function": alliteration,
    "an expression": "sentiment - 0.5*repetition",
    "a sum": Sentiment() + 2.0 * as_reward(alliteration),
}
for name, reward in rewards.items():
    env = gym.make("dyngen/Generate-v0", model="reviews-lm", reward=reward, max_new_tokens=20)
    env = TopKActions(env, "reviews-lm", k=5)  # random, but among what the language model finds likely
    env.reset(seed=0)
    print(f"\n{name}")
    for _ in range(steps):
        _, _, terminated, truncated, info = env.step(rng.integers(env.action_space.n))
        if terminated or truncated:
            terms = ", ".join(f"{name} {paid:+.2f}" for name, paid in info["reward_terms"].items())
            print(f"  {terms}  {info['text'][:70]!r}")
            env.reset()
    env.close()
