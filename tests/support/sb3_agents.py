"""Small agents of Stable-Baselines3 with a language model as their policy, and the env that they play."""

from __future__ import annotations

import gymnasium as gym
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor

from dyngen_agents.sb3 import LMActorCriticPolicy, SegmentRolloutBuffer, as_sb3_vec_env


def share_of_vowels(text: str) -> float:
    return sum(c in "aeiou" for c in text) / max(1, len(text))


def vec_env(model, num_envs: int = 4, **options):
    settings = dict(model=str(model), prompts=["The film", "A", "I am"], reward=share_of_vowels, max_new_tokens=5)
    settings |= dict(max_context_tokens=32, autoreset_mode="same_step")
    return VecMonitor(as_sb3_vec_env(gym.make_vec("dyngen/Generate-v0", num_envs=num_envs, **(settings | options))))


def make(model, algorithm=PPO, buffer=SegmentRolloutBuffer, env=None, sampling=None, **options):
    settings = dict(n_steps=16, seed=0, device="cpu", rollout_buffer_class=buffer)
    settings |= dict(batch_size=32, n_epochs=2) if algorithm is not A2C else {}
    settings |= dict(policy_kwargs=dict(model=str(model), sampling=sampling))
    return algorithm(LMActorCriticPolicy, env or vec_env(model), **(settings | options))


def spread(agent) -> None:
    """Random weights far from the tiny defaults, so that distributions and values differ visibly."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in agent.policy.parameters():
            if p.dim() > 1:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.3)


class Logged(BaseCallback):
    """What a run logs under a name, once a rollout."""

    def __init__(self, name: str):
        super().__init__()
        self.name, self.values = name, []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.values.append(self.logger.name_to_value[self.name])


def roll_out(agent, callback=None) -> None:
    """One rollout, as `learn` collects it."""
    _, callback = agent._setup_learn(10**6, callback)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
