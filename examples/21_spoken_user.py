"""A user who speaks: what somebody says in noise, and what the agent reads of it. Ten seconds.

    python examples/21_spoken_user.py --steps 120

The same person with the same wish answers the same turns, once in writing and twice aloud: a voice of the recordings
that come with the package speaks, noise is added, and a small recogniser writes down what it heard.
"""

import argparse

import gymnasium as gym
import numpy as np

import dyngen_env  # noqa: F401  registers the ids

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=120, help="tokens to write")
steps = parser.parse_args().steps

HEARD = {
    "in writing": "simulated",
    "aloud": "spoken(simulated, voices='eval')",  # voices that the recogniser has never heard
    "in noise": "spoken(simulated, voices='eval', snr=0)",  # as loud as the speech
}
envs = {how: gym.make("dyngen/Dialogue-v0", user=user) for how, user in HEARD.items()}
words = envs["in writing"].unwrapped.batch.tokenizer.encode(" The music and the actors are a joy. ")
for episode in range(max(1, steps // 40)):
    dialogues = {}
    for how, env in envs.items():
        env.reset(seed=episode)
        ended, position = False, 0
        while not ended:
            _, _, terminated, truncated, info = env.step(np.int64(words[position % len(words)]))
            ended, position = terminated or truncated, position + 1
        dialogues[how] = [turn["text"] for turn in info["dialogue"] if turn["role"] == "user"][1:]
    print(f"\ndialogue {episode}")
    for said in zip(*dialogues.values(), strict=True):
        for how, text in zip(dialogues, said, strict=True):
            print(f"  {how:>10}: {text}")
