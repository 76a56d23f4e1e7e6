"""What a trained policy wrote, token by token, with the numbers that training would have made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from dyngen_agents.algorithms.registry import ALGORITHMS
from dyngen_agents.data.reward_scale import RewardScale, scaled_rewards
from dyngen_agents.data.rollout import Act, collect
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.inspection.episode_record import episode_record
from dyngen_agents.inspection.quantities import notes_on_scale, quantities_of
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import config_from, train_config_from
from dyngen_agents.runs.environment import draw_examples, make_env
from dyngen_agents.runs.folder import find_run
from dyngen_agents.runs.learner import CustomReward, check_custom_reward, name_of
from dyngen_agents.runs.models import policy_and_reference
from dyngen_env.lm.loading.models import load_model
from dyngen_env.types import Example


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
    env = make_env(config, min(episodes, config.num_envs), split, reward)
    dtype = getattr(torch, config.dtype)
    lm = load_model(str(checkpoint.folder), device=env.device, dtype=dtype, fresh=True)
    untrained = load_model(record["model"], device=env.device, dtype=dtype)
    policy, reference = policy_and_reference(env, lm, untrained, config.sampling)
    kind = ALGORITHMS[record["algorithm"]]
    algorithm = kind(policy, reference, config_from(kind.Config, record["algorithm_config"]))
    algorithm.load_state(checkpoint.algorithm_state(), for_training=False)

    def play(actor: Callable[[int], Act], *, group_size: int = 1, bootstrap: Any = None) -> Trajectories:
        groups = -(-episodes // group_size)
        chosen = [*map(Example, islice(cycle(prompts), groups))] if prompts else draw_examples(env, groups, seed)
        examples = [example for example in chosen for _ in range(group_size)]
        batch = collect(env, actor(seed), len(examples), seed=seed, examples=examples, bootstrap=bootstrap)
        return replace(batch, groups=torch.arange(len(batch), device=env.device) // group_size)

    batch = algorithm.experience(play)
    scale = RewardScale(**record["reward_scale"])
    learned = replace(batch, rewards=scaled_rewards(batch, scale, config.missing_eos_penalty))
    diagnostics = algorithm.diagnostics(learned)
    quantities, ref_logprobs = quantities_of(batch, policy, reference, diagnostics)
    numbers = {quantity.key: quantity.values for quantity in quantities} | {"ref_logprob": ref_logprobs}
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
        "quantities": [dict(key=q.key, label=q.label, about=q.about, unit=q.unit, signed=q.signed) for q in quantities],
        "notes": [*diagnostics.notes, *notes_on_scale(scale, config.missing_eos_penalty)],
        "episodes": [episode_record(env.tokenizer, policy, reference, batch, numbers, n) for n in range(len(batch))],
    }
