"""A model that remembers what each user said, though its context never holds their words.

    python examples/12_memory.py        # half a minute; train a run for dialogues worth reading (see below)

Every answer becomes a note that the model attends to in every layer. Here the untrained model has one; `dyngen train
feedback-conditioned --env dyngen/Dialogue-v0 --words-in-context False` teaches it to use it. What is known of a user is
written to a file, from which a later dialogue with them begins.
"""

from __future__ import annotations

import argparse

import gymnasium as gym

import dyngen_env  # noqa: F401  (registers the ids)
from dyngen_agents import CausalLMPolicy, FeedbackMemory, MemoryActor, collect
from dyngen_env.lm import load_model

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2000, help="about how many tokens are played")
arguments = parser.parse_args()

env = gym.make_vec(
    "dyngen/Dialogue-v0",
    num_envs=4,
    output="torch",
    autoreset_mode="same_step",
    words_in_context=False,
).unwrapped
policy = CausalLMPolicy(load_model("dialogue-lm"), env.token_distribution())
actor = MemoryActor(policy, seed=0, note_tokens=24, kept_notes=4)
dialogues = collect(env, actor, max(4, arguments.steps // 200 * 4), seed=0).dialogues
for turn in dialogues[0]:
    print(
        f"{turn['role']:>5}: {turn['text']}" + (f"   [{turn['rating']:+g}]" if turn.get("rating") is not None else "")
    )

actor.remember(dialogues[0], env.tokenizer).save("user.json")
known = FeedbackMemory.load("user.json")
print("kept:", [env.tokenizer.hf.decode(note.ids) for note in known.notes])
again = MemoryActor(policy, seed=1, note_tokens=24, kept_notes=4, begin_with=[known, None, None, None])
print("then:", collect(env, again, 4, seed=1).dialogues[0][1]["text"])
