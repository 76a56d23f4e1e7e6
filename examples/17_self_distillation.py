"""Learning from what a user says, without any rating: `dyngen train self-distillation` as a script. A minute.

    python examples/17_self_distillation.py --steps 512

The user never rates and always asks for the same. The policy that has heard them teaches the one that has not: watch
the share of turns that mention the music grow from update to update, though nothing pays for it.
"""

import argparse

from dyngen_agents import SelfDistillationConfig, TrainConfig, read_metrics, train
from dyngen_env import Feedback

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=8000, help="tokens that the agent may choose in all, roughly")
updates = max(1, parser.parse_args().steps // 800)  # of 32 turns of about 14 tokens, twice


class Listener:
    """Asks for the music, whatever the agent says."""

    answers = True

    def begin(self, examples, rngs):
        return [None] * len(examples)

    def reply(self, dialogues, rngs):
        return [Feedback("what about the music?") for _ in dialogues]


def mentions_music(text):
    return float("music" in text or "song" in text or "soundtrack" in text)


run = train(
    TrainConfig(env="dyngen/Dialogue-v0", model="dialogue-lm", max_turns=2, updates=updates, episodes=32, num_envs=32),
    SelfDistillationConfig(learning_rate=1e-3),
    reward=mentions_music,  # is watched: self-distillation does not read rewards
    user=Listener(),
)
for update in read_metrics(run):
    print(f"update {update['update']}: {update['reward'] / 2:.0%} of turns mention it, gain {update['gain']:+.3f} nats")
