"""Adversarial training: a discriminator pays for what looks human. Ten minutes; --updates 6 takes one.

    python examples/11_adversarial.py

The discriminator learns to tell the policy's film reviews from people's, and is paid beside the sentiment: glad, but
still a review. Afterwards it lies in the run's folder, and any env can pay by it.
"""

import argparse

import gymnasium as gym

import dyngen_env  # noqa: F401  registers the ids
from dyngen_agents import AdversarialConfig, TrainConfig, read_metrics, train

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--updates", type=int, default=40)
parser.add_argument("--episodes", type=int, default=64, help="of an update")
given = parser.parse_args()

# What people wrote after the same prompts comes with the env; for your own task give human="texts.txt".
config = TrainConfig(updates=given.updates, episodes=given.episodes, reward="sentiment")
run = train(config, AdversarialConfig(d_weight=2.0, d_credit="prefix", d_pretrain=min(5, given.updates - 1)))

print("update  sentiment  D's accuracy  self-BLEU  distance to people")
for m in read_metrics(run)[:: max(1, given.updates // 8)]:
    numbers = (m["reward"], m["d_accuracy"], m["self_bleu"], m["text_distance"])
    print(f"{m['update']:6} " + " ".join(f"{number:10.3f}" for number in numbers))

env = gym.make("dyngen/Sentiment-v0", model="reviews-lm", reward=f"discriminator({str(run)!r})")
env.reset(seed=0, options={"prompt": "The acting in this film"})
for token in [*env.unwrapped.tokenizer.encode(" is a triumph."), 1]:  # 1 ends the turn
    _, reward, *_, info = env.step(token)
print(f"is {info['text']!r} human? {reward:.2f}")
