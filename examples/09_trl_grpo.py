"""TRL's GRPOTrainer teaches a language model to write reviews that sound good. About two minutes.

    pip install 'trl>=1.10,<2'
    python examples/09_trl_grpo.py --steps 40

The env plays the trainer's model itself, with a key-value cache and without vLLM, and pays it; TRL learns from the very
tokens that were played. Dialogues work alike: `dyngen/Dialogue-v0`, what the user says is masked out of the loss. For a
model that calls tools there is `environment_factory=TextEnvironment` (agents/trl/environment.py).
"""

import argparse
import os

import gymnasium as gym

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # TRL calls `rollout_func` experimental
from trl import GRPOConfig, GRPOTrainer

import dyngen_env  # noqa: F401  registers the ids
from dyngen_agents.trl import EnvRollout, env_reward, prompt_dataset
from dyngen_env.lm import load_model, load_tokenizer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=40, help="updates, of 64 texts each")
parser.add_argument("--out", default="runs/trl", help="a folder for TRL's files")
arguments = parser.parse_args()

env = gym.make_vec("dyngen/Sentiment-v0", num_envs=64, output="torch", autoreset_mode="same_step")
trainer = GRPOTrainer(
    model=load_model("reviews-lm", fresh=True),
    processing_class=load_tokenizer("reviews-lm"),
    rollout_func=EnvRollout(env),
    reward_funcs=env_reward,
    train_dataset=prompt_dataset(env, 512),
    args=GRPOConfig(
        output_dir=arguments.out,
        max_steps=arguments.steps,
        per_device_train_batch_size=64,
        num_generations=8,  # texts on the same prompt, compared with each other
        learning_rate=5e-4,
        lr_scheduler_type="constant",
        beta=0.02,  # stay near the model that it began with
        logging_steps=max(1, arguments.steps // 10),
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    ),
)
trainer.train()
rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
print("mean rewards:", *(f"{reward:+.2f}" for reward in rewards))
