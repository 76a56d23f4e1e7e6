"""RLlib's PPO (new API stack), a small MLP, picks among the 8 most likely next words of a language model. Two minutes.

    make test-rllib  (makes .venv-rllib and tries it briefly), then
    .venv-rllib/bin/python examples/08_rllib.py --steps 50000

RLlib pins an older Gymnasium and so wants an environment of its own. It makes its envs itself, in every worker: the
prefix "dyngen_env:" imports us there, "vector_entry_point" asks for one batched env instead of many single ones.
"""

import argparse

import gymnasium as gym
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env

from dyngen_env.wrappers import LMFeatures, TopKActions

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=50_000, help="tokens to learn from")
steps = parser.parse_args().steps


def make(config: dict) -> gym.Env | gym.vector.VectorEnv:
    env_id, rows = "dyngen_env:dyngen/Sentiment-v0", config.get("num_envs")
    env = gym.make_vec(env_id, num_envs=rows) if rows else gym.make(env_id)
    return LMFeatures(TopKActions(env, "reviews-lm", k=8), "reviews-lm")


register_env("sentiment", make)
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
config = (
    PPOConfig()
    .environment("sentiment")
    .env_runners(
        num_env_runners=0,  # in this process; n > 0 are n processes
        num_envs_per_env_runner=32,
        gym_env_vectorize_mode="vector_entry_point",
    )
    .training(gamma=1.0, lr=1e-3, train_batch_size=min(4096, steps), minibatch_size=256, num_epochs=4)
    .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64]))
    .debugging(seed=0)
)
algorithm = config.build_algo()
for _ in range(max(1, steps // 4096)):
    result = algorithm.train()["env_runners"]
    print(f"{result['num_episodes_lifetime']:.0f} texts, mean reward {result['episode_return_mean']:+.2f}")
algorithm.stop()
ray.shutdown()
