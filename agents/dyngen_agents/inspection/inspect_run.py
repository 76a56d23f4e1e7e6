"""What a trained policy wrote, token by token, with the numbers that training would have made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dyngen_agents.algorithms.ppo import PPO
from dyngen_agents.algorithms.registry import ALGORITHMS
from dyngen_agents.algorithms.reinforce import REINFORCE
from dyngen_agents.data.batching import map_in_batches
from dyngen_agents.data.reward_scale import RewardScale, scaled_rewards
from dyngen_agents.data.rollout import collect
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.functional.kl_control import kl_penalised_rewards
from dyngen_agents.functional.losses import kl_k1
from dyngen_agents.functional.returns import gae
from dyngen_agents.inspection.episode_record import episode_record
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import TrainConfig, config_from, train_config_from
from dyngen_agents.runs.environment import draw_examples, make_env
from dyngen_agents.runs.folder import find_run
from dyngen_agents.runs.learner import CustomReward, check_custom_reward, name_of
from dyngen_env.lm.loading.models import load_model
from dyngen_env.types import Example

MAX_TOKENS = 4096  # padded tokens of a forward pass: bounds memory, changes no result


@dataclass(frozen=True)
class Quantity:
    """A number that every token of a completion has. `signed` ones have a zero in the middle of their scale."""

    key: str
    label: str
    about: str
    unit: str = ""
    signed: bool = True


def inspect_run(
    run: str | Path,
    episodes: int = 8,
    seed: int = 0,
    *,
    split: str = "eval",
    prompts: Sequence[str] = (),
    device: str | None = None,
    reward: CustomReward = None,
) -> dict[str, Any]:
    """Play some episodes with a run's policy and say, for each token it chose, what was paid and what it thought.

    The prompts are the first ones of `dyngen eval` with this seed, unless others are given.

    Args:
        run: a folder, a name in runs/, or "latest".
        episodes: how many; rounded up to whole groups in a run that compares episodes of one prompt.
        seed: of the choice of examples and of the sampling.
        split: "train", "tune" or "eval" part of the run's prompts.
        prompts: begin with these instead, in turn.
        device: None is the run's own.
        reward: the reward from Python that the run was trained with, if it was.

    Returns:
        what `inspection.page.write_page` shows, in values that JSON can hold: "run", "quantities", "notes" and
        "episodes"; see `episode_record`.

    Raises:
        FileNotFoundError: no such run. ValueError: it is damaged, or an argument cannot work.
    """
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}, expected at least 1")
    checkpoint = open_checkpoint(find_run(run))
    record = checkpoint.record
    check_custom_reward(record, name_of(reward))
    config = train_config_from(record["train"])
    config = replace(config, device=device or config.device)
    group_size = record["algorithm_config"].get("group_size", 1)
    groups = -(-episodes // group_size)
    episodes = groups * group_size
    env = make_env(config, min(episodes, config.num_envs), split, reward)
    dtype = getattr(torch, config.dtype)
    lm = load_model(str(checkpoint.folder), device=env.device, dtype=dtype, fresh=True)
    policy = CausalLMPolicy(lm, env.token_distribution(config.sampling))
    tensors = checkpoint.tensors()
    policy.value_head.load_state_dict({name: tensors[f"value_head.{name}"] for name in policy.value_head.state_dict()})
    reference = Reference(load_model(record["model"], device=env.device, dtype=dtype), policy.distribution)
    kind = ALGORITHMS[record["algorithm"]]
    algorithm = kind(
        policy,
        reference,
        config_from(kind.Config, record["algorithm_config"]),  # type: ignore[arg-type]
        episodes=config.episodes,
    )
    algorithm.kl_control.load_state_dict(record["kl_control"])

    chosen = [*map(Example, islice(cycle(prompts), groups))] if prompts else draw_examples(env, groups, seed)
    batch = collect(
        env,
        Actor(policy, seed),
        episodes,
        seed=seed,
        examples=[example for example in chosen for _ in range(group_size)],
        bootstrap=algorithm.bootstrap,
    )
    batch = replace(batch, groups=torch.arange(episodes, device=env.device) // group_size)
    rewards = scaled_rewards(batch, RewardScale(**record["reward_scale"]), config.missing_eos_penalty)
    numbers = token_numbers(algorithm, batch, rewards)
    quantities, notes = described(algorithm, config, record["reward_scale"])
    return {
        "run": {
            "folder": str(checkpoint.folder),
            "algorithm": record["algorithm"],
            "updates": record["iteration"],
            "model": Path(record["model"]).name,
            "env": config.env,
            "reward": record["custom_reward"] or config.reward,
            "prompts": "given" if prompts else split,
            "seed": seed,
            "sampling": asdict(config.sampling),
        },
        "quantities": [asdict(quantity) for quantity in quantities],
        "notes": notes,
        "episodes": [episode_record(env.tokenizer, policy, reference, batch, numbers, n) for n in range(len(batch))],
    }


def token_numbers(algorithm: PPO | REINFORCE, batch: Trajectories, rewards: Tensor) -> dict[str, Tensor]:
    """The numbers of each token, by name, (N, L) each; they mean something where the completion mask is True.

    Args:
        rewards: (N, L), the batch's rewards on the learner's scale.
    """
    policy, mask = algorithm.policy, batch.completion_mask
    ref_logprobs = map_in_batches(algorithm.reference.logprobs, batch, MAX_TOKENS)
    penalised = kl_penalised_rewards(rewards, batch.logprobs, ref_logprobs, mask, algorithm.kl_control.coef)
    numbers = {"reward": batch.rewards, "learned": penalised}
    if isinstance(algorithm, PPO):
        c = algorithm.config
        numbers["advantage"], _ = gae(penalised, batch.values, batch.bootstrap, mask, c.gamma, c.gae_lambda)
        numbers["value"] = batch.values
    else:
        numbers["advantage"] = algorithm.advantages(penalised, batch)
    numbers["kl"] = kl_k1(batch.logprobs, ref_logprobs)
    numbers["entropy"] = map_in_batches(lambda t, m: policy.evaluate(t, m).entropies, batch, MAX_TOKENS)
    return numbers | {"logprob": batch.logprobs, "ref_logprob": ref_logprobs}


def described(
    algorithm: PPO | REINFORCE, config: TrainConfig, scale: dict[str, float]
) -> tuple[list[Quantity], list[str]]:
    """The quantities that can be shown of an algorithm's run, and what a reader should know about them."""
    learned = [f"What the learner is paid: reward − β·KL, β {algorithm.kl_control.coef:.3g}"]
    if scale != asdict(RewardScale()):
        learned.append(f"the reward times {scale['gain']:.3g}, {scale['bias']:+.3g} at the end")
    if config.missing_eos_penalty:
        learned.append(f"{config.missing_eos_penalty:g} less where the episode did not end by a token of its own")
    value, notes = [], []
    if isinstance(algorithm, PPO):
        ppo = algorithm.config
        about = "Better or worse than expected: GAE of the rewards with KL penalty, "
        about += f"γ {ppo.gamma:g}, λ {ppo.gae_lambda:g}"
        if ppo.whiten_advantages:
            about += "; training then whitens it over its batch"
        value.append(Quantity("value", "value", "What the value head expected of the rest, before this token"))
    else:
        reinforce = algorithm.config
        about = f"Return-to-go of the rewards with KL penalty, γ {reinforce.gamma:g}, baseline “{reinforce.baseline}”"
        if reinforce.baseline in ("batch", "rebn"):
            about += f" over the episodes of this page; training takes it over {config.episodes}"
        notes.append("No values: REINFORCE has no critic.")
    return [
        Quantity("reward", "reward", "What the environment paid for this token; they add up to the return"),
        Quantity("learned", "reward − β·KL", "; ".join(learned)),
        Quantity("advantage", "advantage", about),
        *value,
        Quantity("kl", "KL", "log π − log π_ref of this token: above zero, training made it likelier", "nats"),
        Quantity("entropy", "entropy", "How open the choice was: entropy of π at this token", "nats", signed=False),
        Quantity("logprob", "log-prob", "log π of this token: far below zero is a surprise", "nats", signed=False),
    ], notes
