"""Pictures in the state: the policy sees an emoji that it has not been trained on and answers a question. Some seconds.

    python examples/20_emoji.py
    dyngen train ppo --env dyngen/Picture-v0        # to see better

Your own pictures: `Example("name it:", media=(Picture.from_file("cat.png", size=(32, 32)),))` in `prompts=[...]`.
"""

import argparse

import gymnasium as gym
import numpy as np

from dyngen_agents import Actor, CausalLMPolicy, collect
from dyngen_env import Example, Picture
from dyngen_env.lm import load_model

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=80, help="about how many tokens are written")
episodes = max(8, parser.parse_args().steps // 80 * 8)

options = dict(num_envs=8, output="torch", autoreset_mode="same_step")
env = gym.make_vec("dyngen/Picture-v0", split="eval", **options).unwrapped
policy = CausalLMPolicy(load_model("pictures-lm"), env.token_distribution())
played = collect(env, Actor(policy, seed=0), episodes, seed=0)
for question, answer, f1 in zip(played.prompts, played.texts, played.reward_terms["said"].tolist(), strict=True):
    print(f"{question:32}{answer:28} F1 {f1:.2f}")

pixels = np.full((32, 32, 3), 255, dtype=np.uint8)
pixels[8:24, 8:24] = (220, 45, 70)  # a red square of our own
square = Example("what colours has it?", reference="red", media=(Picture(pixels),))
mine = gym.make_vec("dyngen/Picture-v0", prompts=[square], **options).unwrapped
print("a red square is", collect(mine, Actor(policy, seed=1), 8, seed=1).texts)
