"""Do Stable-Baselines3's own agents learn here, in minutes on a CPU?

`python -m benchmarks.sb3_learning [--json PATH] [--quick]`: dyngen/Sentiment-v0 with reviews-lm, three seeds of each
agent (`--quick`: one); the mean reward of 256 texts against the language model's own sampling, and against candidates
chosen at random, whose texts are longer and earn more without any learning. The rows in the JSON file hold learning
curves: steps, seconds, mean return of the last 400 episodes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

import dyngen_env  # noqa: F401  (registers the ids)
from benchmarks.harness import Row, main
from dyngen_agents.sb3 import KLPenalty, LMActorCriticPolicy, SegmentRolloutBuffer, as_sb3_vec_env
from dyngen_env.wrappers import LMFeatures, TopKActions

SHARED: dict[str, Any] = dict(gamma=1.0, stats_window_size=400, device="cpu")


def lm_ppo(seed: int) -> BaseAlgorithm:
    return PPO(
        LMActorCriticPolicy, make(), n_steps=128, batch_size=512, n_epochs=2, learning_rate=5e-4, vf_coef=0.1,
        max_grad_norm=1.0, rollout_buffer_class=SegmentRolloutBuffer, policy_kwargs=dict(model="reviews-lm"),
        seed=seed, **SHARED,
    )  # fmt: skip


def mlp_ppo(seed: int) -> BaseAlgorithm:
    return PPO(
        "MlpPolicy", make(features), n_steps=128, batch_size=512, n_epochs=8, learning_rate=1e-3, ent_coef=0.01,
        seed=seed, **SHARED,
    )  # fmt: skip


def mlp_dqn(seed: int) -> BaseAlgorithm:
    return DQN(
        "MlpPolicy", make(features), n_steps=32, learning_rate=5e-4, buffer_size=100_000, learning_starts=2000,
        batch_size=256, train_freq=1, gradient_steps=4, target_update_interval=1000, exploration_fraction=0.5,
        policy_kwargs=dict(net_arch=[256]), seed=seed, **SHARED,
    )  # fmt: skip


# name: (agent, steps, callbacks, whether it is to be judged by its greedy choices)
AGENTS: dict[str, tuple[Callable[[int], BaseAlgorithm], int, list[BaseCallback], bool]] = {
    "SB3 PPO, the LM as policy": (lm_ppo, 61_440, [KLPenalty(0.02)], False),
    "SB3 PPO MlpPolicy on LMFeatures(TopKActions)": (mlp_ppo, 102_400, [], False),
    "SB3 DQN MlpPolicy on LMFeatures(TopKActions)": (mlp_dqn, 61_440, [], True),
}


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    # Before they learn, one agent is the language model, the other chooses candidates evenly.
    peers = {
        "the LM's own sampling": reward_of(lm_ppo(0), greedy=False),
        "random candidates": reward_of(mlp_ppo(0), greedy=False),
    }
    for seed in range(3 if arguments.repeats > 2 else 1):
        for name, (new, steps, callbacks, greedy) in AGENTS.items():
            agent, curve = new(seed), Curve()
            agent.learn(steps, callback=[*callbacks, curve])
            ours, seconds = reward_of(agent, greedy), curve.points[-1][1]
            for peer, theirs in peers.items():
                yield dict(
                    measure=f"{name}, {steps} steps in {seconds:.0f} s, seed {seed}", peer=peer,
                    ours=ours, theirs=theirs, ratio=ours / theirs, unit="reward", curve=curve.points,
                )  # fmt: skip


class Curve(BaseCallback):
    """(steps, seconds, mean return of the last 400 episodes), every 2048 steps and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int, float, float]] = []

    def _on_training_start(self) -> None:
        self.start = time.perf_counter()

    def _on_step(self) -> bool:
        if self.num_timesteps - (self.points[-1][0] if self.points else 0) >= 2048:
            self._note()
        return True

    def _on_training_end(self) -> None:
        self._note()

    def _note(self) -> None:
        returns = [float(episode["r"]) for episode in self.model.ep_info_buffer or ()]
        seconds = time.perf_counter() - self.start
        self.points.append((self.num_timesteps, round(seconds, 1), float(np.mean(returns))))


def reward_of(agent: BaseAlgorithm, greedy: bool) -> float:
    """Mean reward of 256 texts."""
    env = agent.get_env()
    assert env is not None
    env.seed(10_000)
    mean, _ = evaluate_policy(agent, env, n_eval_episodes=256, deterministic=greedy)
    assert isinstance(mean, float)
    return mean


def make(wrap: Callable[[Any], Any] = lambda env: env) -> VecEnv:
    env = gym.make_vec("dyngen/Sentiment-v0", num_envs=32, autoreset_mode="same_step")
    return VecMonitor(as_sb3_vec_env(wrap(env)))


def features(env: Any) -> Any:
    return LMFeatures(TopKActions(env, "reviews-lm", k=8), "reviews-lm")


if __name__ == "__main__":
    main(__doc__, measure)
