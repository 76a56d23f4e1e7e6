"""64 texts at a time in one batched env, with a language model as the policy. A few seconds.

    python examples/02_gym_make_vec.py --steps 100

The env is one object with 64 rows, not 64 envs: a step is a handful of tensor operations, and with output="torch"
nothing leaves the device.
"""

import argparse
import time

import gymnasium as gym

import dyngen_env  # noqa: F401  registers the ids
from dyngen_agents import Actor, CausalLMPolicy
from dyngen_env.lm import load_model

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=100, help="steps of the batch")
steps = parser.parse_args().steps

envs = gym.make_vec("dyngen/Sentiment-v0", num_envs=64, output="torch", autoreset_mode="same_step")
policy = CausalLMPolicy(load_model("reviews-lm", fresh=True), envs.unwrapped.token_distribution())
actor = Actor(policy, seed=0)

tokens, _ = envs.reset(seed=0)
returns, best = [], (float("-inf"), "")
start = time.perf_counter()
for _ in range(steps):
    action = actor(tokens, (tokens >= 0).sum(1))  # tokens, their log-probs, and values
    tokens, rewards, terminated, truncated, infos = envs.step(action.tokens)
    for row in (terminated | truncated).nonzero().flatten().tolist():
        returns.append(float(rewards[row]))  # this reward comes once, at the end
        best = max(best, (returns[-1], infos["final_info"]["text"][row]))
seconds = time.perf_counter() - start

print(f"{64 * steps / seconds:,.0f} tokens/s")
if returns:
    print(
        f"{len(returns)} texts, mean reward {sum(returns) / len(returns):+.2f}; the best:\n{best[0]:+.2f}  {best[1]!r}"
    )
envs.close()
