"""A model learns to see: one prompt, two pictures, and a reward for the word that is right for what is shown.

    python examples/18_pictures.py --steps 2560        # half a minute

The convnet is untrained at first and belongs to the language model: REINFORCE in ten lines trains both. A model that
saw nothing could be right half of the time.
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import numpy as np
import torch

import dyngen_env  # noqa: F401  (registers the ids)
from dyngen_agents import Actor, CausalLMPolicy, collect
from dyngen_env import Example, Picture
from dyngen_env.lm import load_model
from dyngen_env.lm.modalities import attach_encoder, small_encoder

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2560, help="tokens to write, one an episode")
steps = parser.parse_args().steps


def shade(value: int) -> Picture:
    return Picture(np.full((32, 32, 3), value, np.uint8))


def right(text: str, reference: str) -> float:
    return float(text.strip() == reference)


examples = [
    Example("the film is", reference="good", media=(shade(255),)),
    Example("the film is", reference="bad", media=(shade(0),)),
]
env = gym.make_vec(
    "dyngen/Generate-v0", num_envs=64, prompts=examples, reward=right, max_new_tokens=1, max_context_tokens=16,
    output="torch", autoreset_mode="same_step",
).unwrapped  # fmt: skip
lm = load_model("reviews-lm", fresh=True)
attach_encoder(lm, small_encoder(lm, pictures=(32, 32)))
policy = CausalLMPolicy(lm, env.token_distribution())
optimizer = torch.optim.Adam(lm.parameters(), lr=1e-3)

for update in range(steps // 64):
    batch = collect(env, Actor(policy, seed=update), 64, seed=1000 * update)
    rewards = batch.episode_returns
    logprobs = policy.evaluate(batch.tokens, batch.completion_mask).logprobs.sum(1)
    loss = -((rewards - rewards.mean()) * logprobs).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if update % 10 == 0:
        print(f"update {update:2}: right in {100 * float(rewards.mean()):.0f}% of the episodes")
