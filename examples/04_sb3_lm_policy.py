"""An unmodified Stable-Baselines3 PPO trains a language model to write reviews that sound good. About two minutes.

    python examples/04_sb3_lm_policy.py --steps 40960

The policy is the embedded language model with a value head. SB3 hands it whole observations; a key-value cache that
nobody sees makes the rollout fast, and `SegmentRolloutBuffer` the update. On two CPU cores the mean reward rises from
0.15 to above 0.5.
"""

import argparse

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

import dyngen_env  # noqa: F401  registers the ids
from dyngen_agents.sb3 import KLPenalty, LMActorCriticPolicy, SegmentRolloutBuffer, as_sb3_vec_env

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=40_960, help="tokens to learn from")
parser.add_argument("--save", default="", help="where to save the agent")
arguments = parser.parse_args()

env = VecMonitor(as_sb3_vec_env(gym.make_vec("dyngen/Sentiment-v0", num_envs=32, autoreset_mode="same_step")))
agent = PPO(
    LMActorCriticPolicy,
    env,
    policy_kwargs=dict(model="reviews-lm"),
    rollout_buffer_class=SegmentRolloutBuffer,  # runs each text once in an update, not each of its prefixes
    n_steps=max(16, min(128, arguments.steps // 32)),
    batch_size=512,
    n_epochs=2,
    learning_rate=5e-4,
    gamma=1.0,  # a text is an episode; its reward comes at the end
    vf_coef=0.1,
    max_grad_norm=1.0,
    stats_window_size=400,
    verbose=1,
    seed=0,
    device="cpu",
)
agent.learn(arguments.steps, callback=KLPenalty(0.02))  # stay near the model that it began with
if arguments.save:
    agent.save(arguments.save)

obs = env.reset()
shown = 0
for _ in range(40):
    obs, rewards, dones, infos = env.step(agent.predict(obs)[0])
    for row in dones.nonzero()[0][: 5 - shown]:
        print(f"{rewards[row]:+.2f}  {infos[row]['text']!r}")
        shown += 1
