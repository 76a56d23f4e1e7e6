"""One episode in a text environment, token by token, as in any Gymnasium env. A second.

    python examples/01_gym_make.py --steps 100

The tokens are drawn from the embedded language model; the reward is the sentiment of the finished text.
"""

import argparse

import gymnasium as gym
import torch

import dyngen_env  # noqa: F401  registers the ids
from dyngen_env.lm import Engine, SamplingConfig, load_model, sample

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=100, help="tokens to write")
steps = parser.parse_args().steps

env = gym.make("dyngen/Sentiment-v0")
print("observation:", env.observation_space, "\naction:     ", env.action_space)

engine = Engine(load_model("reviews-lm"))  # cached: a step runs one token through the model
distribution = env.unwrapped.token_distribution(SamplingConfig(temperature=0.8))  # of the tokens that are legal here
generator = torch.Generator().manual_seed(0)

observation, info = env.reset(seed=0)
for _ in range(steps):
    tokens = torch.from_numpy(observation)[None]  # (1, L), -1 where empty
    lengths = (tokens >= 0).sum(1)
    logits = distribution.logits(engine.next_logits(tokens, lengths), tokens, lengths)
    token, _ = sample(logits, torch.rand(1, generator=generator))
    observation, reward, terminated, truncated, info = env.step(int(token))
    if terminated or truncated:
        print(f"{reward:+.2f}  {info['finish_reason']:6}  {info['text']!r}")
        observation, info = env.reset()
env.close()
