"""The environment of a run, for training and for evaluation."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

import dyngen_env  # noqa: F401  registers the ids
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.from_python import CustomReward
from dyngen_agents.runs.imported import imported, is_imported
from dyngen_agents.runs.tasks import tasks_of
from dyngen_env.envs.mixture.ids import mixed_reward
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.rewards import Reward, delayed, make_reward
from dyngen_env.rewards.transforms.delay import dense_where_cheap
from dyngen_env.rewards.transforms.normalise import refuse_moving_scales
from dyngen_env.tasks import MixedTask, Prompts, Task, can_be_held_out, read_prompts
from dyngen_env.types import Example
from dyngen_env.users import User, make_user

log = logging.getLogger(__name__)


def make_env(
    config: TrainConfig,
    num_envs: int,
    split: str,
    reward: CustomReward = None,
    user: User | None = None,
    credit: Callable[[Reward], Reward] | None = None,
) -> TextGenVectorEnv:
    """The batched env of `config` over the "train" or "eval" part of its prompts, with tensors on its device.

    Args:
        reward, user: used instead of the configured ones.
        credit: makes another reward of the env's, with the same sum over every episode (see `credit_of`).

    Raises:
        ValueError: the env is none of ours, has no language model, cannot be built, or pays a reward whose scale moves
            (`normalised` without figures); the message says why.
        gymnasium.error.Error: an unknown id.
    """
    options = config.given()
    options |= {name: _own(name, options[name]) for name in ("reward", "user") if is_imported(options.get(name))}
    options |= {name: given for name, given in (("reward", reward), ("user", user)) if given is not None}
    if credit is not None and (paid := options.get("reward", _default_reward(config))) is not None:
        options["reward"] = credit(make_reward(paid))
    _refuse_other_envs(config.env)
    try:
        env = gym.make_vec(
            config.env,
            num_envs=num_envs,
            vectorization_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT,
            output="torch",
            autoreset_mode="same_step",
            device=config.device or "cpu",
            split=prompt_split(config.prompts, split),
            **options,
        ).unwrapped
    except gym.error.UnregisteredEnv as error:
        raise type(error)(f"{str(error).rstrip('.')}{_similar_id(config.env)}") from error
    if not isinstance(env, TextGenVectorEnv):
        raise ValueError(f"env {config.env!r} is a {type(env).__name__}: expected an env of dyngen")
    refuse_moving_scales(env.reward)
    if env.model is None:
        raise ValueError(f"env {config.env!r} names no language model that could learn: give model=...")
    return env


def credit_of(config: TrainConfig, gamma: float | None) -> Callable[[Reward], Reward] | None:
    """What `TrainConfig.credit` makes of a reward; None leaves it as it is.

    Args:
        gamma: the algorithm's discount; None if it looks at sums alone.
    """
    on_cpu = (config.device or "cpu") == "cpu"
    if config.credit == "token":
        return partial(delayed, to="token")
    if config.credit == "auto" and gamma == 1 and on_cpu:
        return dense_where_cheap
    return None


def _default_reward(config: TrainConfig) -> Any:
    """What a registered env pays if nothing is said; None if it is not told at registration."""
    try:
        tasks, keywords = tasks_of(config), gym.spec(config.env).kwargs
    except gym.error.Error:
        return None  # what is wrong with the id is said where the env is made
    return mixed_reward(tasks) if tasks else keywords.get("reward")


def _own(name: str, text: str) -> Reward | User:
    """The reward or the user that a setting names by its file or module."""
    make: Callable[[Any], Reward | User] = make_reward if name == "reward" else make_user
    try:
        return make(imported(text))
    except TypeError as error:
        raise ValueError(f"{name}={text!r}: {error}") from error


def _refuse_other_envs(name: str) -> None:
    """Raises ValueError for a registered env that is none of ours: it would not know the keywords."""
    try:
        entry = gym.spec(name).vector_entry_point
    except gym.error.Error:
        return  # said where the env is made
    kind = load_env_creator(entry) if isinstance(entry, str) else entry
    if kind is None or (isinstance(kind, type) and not issubclass(kind, TextGenVectorEnv)):
        raise ValueError(f"env {name!r} generates no text: expected an env of dyngen, such as {TrainConfig.env}")


def _similar_id(name: str) -> str:
    """A question after a registered id that somebody may have meant; empty if none is similar."""
    ids = {form: full for full in gym.registry for form in (full, full.split("/")[-1])}
    near = difflib.get_close_matches(name, ids, n=1)
    return f": did you mean {ids[near[0]]!r}?" if near else ""


def prompt_split(prompts: str | None, wanted: str) -> str | None:
    """`wanted`, or None (every prompt) where the prompts in a file are too few to hold some out."""
    if prompts is None:
        return wanted
    everything = read_prompts(prompts)
    if can_be_held_out(prompts):
        return wanted
    if wanted == "eval":
        log.warning(
            "%s: its %d prompts are too few to hold some out, so evaluation uses those that are trained on",
            prompts, len(everything.examples),
        )  # fmt: skip
    return None


def draw_examples(env: TextGenVectorEnv, count: int, seed: int) -> list[Example]:
    """`count` examples of the env's task: in random order, none again before all have been drawn. Those of a mixture
    are in proportion to its weights, as nearly as can be."""
    if not isinstance(env.task, MixedTask):
        return _examples_of(env.task, count, seed)
    which = env.task.of_rows(np.arange(count)).tolist()
    of_each = [iter(_examples_of(task, which.count(i), seed)) for i, task in enumerate(env.task.tasks.values())]
    return [next(of_each[i]) for i in which]


def _examples_of(task: Task, count: int, seed: int) -> list[Example]:
    if isinstance(task, Prompts):
        order = np.random.default_rng(seed).permutation(len(task.examples))
        return [task.examples[i] for i in np.resize(order, count)]
    return [task.sample(np.random.default_rng([seed, i])) for i in range(count)]
