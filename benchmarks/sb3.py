"""What the cache, the segments and the batched env bring inside an unmodified Stable-Baselines3.

`python -m benchmarks.sb3 [--json PATH] [--quick]`: dyngen/Sentiment-v0, reviews-lm, 32 rows, SB3's PPO with 128 steps a
rollout, minibatches of 512, 2 epochs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from torch import Tensor

import dyngen_env  # noqa: F401  (registers the ids)
from benchmarks.harness import Row, compare, main, rate
from dyngen_agents.sb3 import LMActorCriticPolicy, SegmentRolloutBuffer, as_sb3_vec_env
from dyngen_agents.sb3.evaluation import hidden_before_choice
from dyngen_env.wrappers import LMFeatures, TopKActions

ENVS, STEPS = 32, 128


class UncachedPolicy(LMActorCriticPolicy):
    """The same policy, every step of which runs whole rows."""

    def _hidden(self, obs: Any) -> Tensor:
        return hidden_before_choice(self.lm_policy.lm, obs)


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    ours = learner(LMActorCriticPolicy, SegmentRolloutBuffer)
    peers = {
        "neither cache nor segments": learner(UncachedPolicy, None),
        "the cache alone": learner(LMActorCriticPolicy, None),
        "segments alone": learner(UncachedPolicy, SegmentRolloutBuffer),
    }
    for peer, theirs in peers.items():
        yield compare("SB3 PPO with the LM as policy", peer, ours, theirs, "steps/s", min(3, arguments.repeats))
    for name, wrap in {"the env alone": lambda env: env, "LMFeatures(TopKActions)": features}.items():
        single = DummyVecEnv([partial(one, wrap)] * ENVS)
        yield compare(
            f"VecEnv of {ENVS} rows, {name}", "DummyVecEnv", played(batched(wrap)), played(single), "steps/s",
            arguments.repeats,
        )  # fmt: skip


def learner(policy: type[LMActorCriticPolicy], buffer: type | None) -> Callable[[], float]:
    """Steps/s of one iteration: rollout and update. The learning rate is so small that texts stay as they are."""
    agent = PPO(
        policy, batched(), n_steps=STEPS, batch_size=512, n_epochs=2, learning_rate=1e-7, gamma=1.0, seed=0,
        rollout_buffer_class=buffer, policy_kwargs=dict(model="reviews-lm"), device="cpu",
    )  # fmt: skip

    def iteration() -> float:
        agent.learn(ENVS * STEPS, reset_num_timesteps=False)
        return float(ENVS * STEPS)

    return rate(iteration)


def played(env: VecEnv) -> Callable[[], float]:
    """Steps/s of random legal actions."""
    rng, legal = np.random.default_rng(0), np.flatnonzero(env.env_method("action_masks")[0])
    env.reset()

    def play() -> float:
        for _ in range(STEPS):
            env.step(rng.choice(legal, size=ENVS))
        return float(ENVS * STEPS)

    return rate(play)


def batched(wrap: Callable[[Any], Any] = lambda env: env) -> VecEnv:
    return as_sb3_vec_env(wrap(gym.make_vec("dyngen/Sentiment-v0", num_envs=ENVS, autoreset_mode="same_step")))


def one(wrap: Callable[[Any], Any]) -> gym.Env:
    return wrap(gym.make("dyngen/Sentiment-v0"))


def features(env: Any) -> Any:
    return LMFeatures(TopKActions(env, "reviews-lm", k=8), "reviews-lm")


if __name__ == "__main__":
    main(__doc__, measure)
