"""One env that plays several ids: another task in every episode, and what a language model earns in each. Some seconds.

    python examples/22_mixed_tasks.py --steps 512

Rows of one batch write film reviews, talk with people and walk on a graph. Which task an episode plays is drawn by
weight; `info["task"]` says it, and rewards are divided by a scale of the task's, so that they weigh alike. Learning:
dyngen train ppo --env dyngen/Mix-v0
"""

import argparse
from collections import defaultdict

import torch

import dyngen_env
from dyngen_agents import Actor, CausalLMPolicy
from dyngen_env.lm import load_model

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=512, help="tokens, of all rows together")
steps = parser.parse_args().steps

weights = {"dyngen/Sentiment-v0": 2, "dyngen/Dialogue-v0": 1, "dyngen/RandomWalk-v0": 1}
envs = dyngen_env.mix(weights, num_envs=16, output="torch", autoreset_mode="same_step")
policy = CausalLMPolicy(load_model("dialogue-lm"), envs.token_distribution())
act = Actor(policy, seed=0)

episodes = defaultdict(list)  # by task: return, the last thing that was said
tokens, infos = envs.reset(seed=0)
print("the first rows play:", ", ".join(infos["task"][:6]))
for _ in range(max(40, steps // 16)):
    tokens, rewards, terminated, truncated, infos = envs.step(act(tokens, (tokens >= 0).sum(1)).tokens)
    for row in torch.nonzero(terminated | truncated).flatten().tolist():
        final = infos["final_info"]
        terms = {k: float(v[row]) for k, v in final["reward_terms"].items() if k[0] != "_"}
        episodes[final["task"][row]].append((sum(terms.values()), final["text"][row]))

for task, played in episodes.items():
    mean = sum(value for value, _ in played) / len(played)
    print(f"{task}: {len(played)} episodes, mean scaled return {mean:+.2f}, such as {played[0][1]!r}")
