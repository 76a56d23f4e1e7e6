"""A stock DQN with an MLP chooses among the 8 most likely next words of a language model. One to two minutes.

    python examples/05_sb3_dqn_top_k.py --steps 50000

`TopKActions` makes the action a rank among the language model's candidates, `LMFeatures` the observation its last
hidden state; both share one cached forward. Any agent for `Discrete` actions and `Box` observations takes it. The
language model's own texts earn 0.15, the trained agent's above 0.5.
"""

import argparse

import gymnasium as gym
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import VecMonitor

import dyngen_env  # noqa: F401  registers the ids
from dyngen_agents.sb3 import as_sb3_vec_env
from dyngen_env.wrappers import LMFeatures, TopKActions


class Progress(BaseCallback):
    """A line now and then: DQN's own log counts episodes, of which short texts make thousands."""

    def _on_step(self) -> bool:
        if self.n_calls % 100 == 0:
            mean = safe_mean([episode["r"] for episode in self.model.ep_info_buffer])
            print(f"{self.num_timesteps:6,} tokens, mean reward of the last 400 texts: {mean:+.2f}", flush=True)
        return True


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=50_000, help="tokens to learn from")
steps = parser.parse_args().steps

envs = gym.make_vec("dyngen/Sentiment-v0", num_envs=32, autoreset_mode="same_step")
envs = LMFeatures(TopKActions(envs, "reviews-lm", k=8), "reviews-lm")
env = VecMonitor(as_sb3_vec_env(envs))
print("observation:", env.observation_space, "\naction:     ", env.action_space)

agent = DQN(
    "MlpPolicy", env,
    gamma=1.0,  # the reward comes at the end of a text,
    n_steps=32,  # and returns over the whole text carry it back to every choice
    learning_rate=5e-4,
    buffer_size=100_000, learning_starts=min(2000, steps // 2), batch_size=256,
    train_freq=1, gradient_steps=4, target_update_interval=1000, exploration_fraction=0.5,
    policy_kwargs=dict(net_arch=[256]), stats_window_size=400, seed=0, device="cpu",
)  # fmt: skip
agent.learn(steps, log_interval=None, callback=Progress())

mean, deviation = evaluate_policy(agent, env, n_eval_episodes=min(200, steps))
print(f"reward of the trained agent: {mean:.2f} ± {deviation:.2f}")
