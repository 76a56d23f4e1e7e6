"""Scores for the pages of documentation: what random, untrained and trained agents earn in every environment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmConfig
from dyngen_agents.algorithms.registry import ALGORITHMS
from dyngen_agents.data.rollout import collect
from dyngen_agents.evaluation.samples import written
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import Action, CausalLMPolicy
from dyngen_agents.runs.config import TrainConfig, config_from
from dyngen_agents.runs.environment import draw_examples, make_env
from dyngen_agents.runs.opened_run import OpenedRun, open_run
from dyngen_env.envs.options import TaskOptions, keywords_of
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm import load_model

EPISODES, SEED = 256, 0
NO_MATTER = ("out", "max_minutes", "save_every", "threads", "device", "track", "resume")  # to what is learned
MODELS = {"dyngen/Dialogue-v0": "dialogue-lm"}  # of the untrained agent, where it is not the env's own


class Uniform:
    """Chooses among the legal tokens with equal chances."""

    def __init__(self, env: TextGenVectorEnv):
        self.weights = env.legal_tokens().double()
        self.generator = torch.Generator(env.device).manual_seed(SEED)

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Action:
        rows = len(tokens)
        chosen = torch.multinomial(self.weights, rows, replacement=True, generator=self.generator)
        zeros = torch.zeros(rows, device=tokens.device)
        return Action(chosen, zeros, zeros)


def untrained_scores(name: str) -> dict[str, dict[str, Any]]:
    """Of the agents "random" and "untrained" in the env `name`, on the held-out part of its prompts."""
    config = TrainConfig(env=name, model=MODELS.get(name))
    env = make_env(config, min(EPISODES, config.num_envs), "eval")  # as many rows as `dyngen eval` plays
    policy = CausalLMPolicy(load_model(env.model), env.token_distribution())  # type: ignore[arg-type]
    return {
        "random": scored(env, Uniform(env)) | {"agent": "any legal token"},
        "untrained": scored(env, Actor(policy, SEED)) | {"agent": f"`{env.model}`"},
    }


def trained_scores(run: str) -> tuple[str, dict[str, Any]]:
    """A run's env, and what its policy earns there.

    Raises:
        ValueError: the run was trained on another task than the id stands for.
    """
    opened = open_run(run, num_envs=EPISODES)
    config = opened.record["train"]
    changed = [key for key in keywords_of(TaskOptions) if key != "model" and config.get(key) is not None]
    if changed:
        raise ValueError(f"run {run} changes {', '.join(changed)} of {config['env']}: train one with the id's defaults")
    agent = f"`{Path(opened.record['model']).name}` after {opened.record['iteration']} updates of `{command(opened)}`"
    return config["env"], scored(opened.env, Actor(opened.policy, SEED)) | {"agent": agent}


def command(run: OpenedRun) -> str:
    """The command that trains such a run: what differs from the defaults, and changes what is learned."""
    kind: type[AlgorithmConfig] = ALGORITHMS[run.record["algorithm"]].Config
    settings = config_from(kind, run.record["algorithm_config"])
    changed = {
        field.name: getattr(config, field.name)
        for config in (run.config, settings)
        for field in fields(config)
        if field.name not in NO_MATTER and getattr(config, field.name) != getattr(type(config)(), field.name)
    }
    options = (f"--{name.replace('_', '-')} {value}" for name, value in changed.items())
    return " ".join(["dyngen train", run.record["algorithm"], *options])


def scored(env: TextGenVectorEnv, actor: Callable[[Tensor, Tensor], Action]) -> dict[str, Any]:
    """Mean return with half its 95% interval, mean length, ends, and one episode, of an agent in an env."""
    batch = collect(env, actor, EPISODES, examples=draw_examples(env, EPISODES, SEED), seed=SEED)
    returns, ends = batch.episode_returns.double(), Counter(batch.finish_reasons)
    return {
        "return": round(float(returns.mean()), 3),
        "ci95": round(1.96 * float(returns.std()) / math.sqrt(EPISODES), 3),
        "tokens": round(float(batch.completion_lengths.double().mean()), 1),
        "ends": {reason: count / EPISODES for reason, count in ends.most_common()},
        "prompt": batch.prompts[0],
        "text": written(batch)[0],
    }
