"""What a trained policy wrote, token by token, with the numbers that training would have made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dyngen_agents.data.reward_scale import RewardScale, scaled_rewards
from dyngen_agents.data.rollout import Act, collect
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.inspection.episode_record import episode_record
from dyngen_agents.inspection.quantities import notes_on_scale, quantities_of
from dyngen_agents.runs.environment import draw_examples
from dyngen_agents.runs.from_python import CustomReward
from dyngen_agents.runs.opened_run import open_run
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.scoring.people import played_by
from dyngen_env.types import Example
from dyngen_env.users import User

NOBODY_ASKED = "People were not asked about these episodes: what they pay is 0 here, and they say nothing."


def inspect_run(
    run: str | Path,
    episodes: int = 8,
    seed: int = 0,
    *,
    split: str = "eval",
    prompts: Sequence[str] = (),
    device: str | None = None,
    reward: CustomReward = None,
    user: User | None = None,
) -> dict[str, Any]:
    """Play some episodes with a run's policy and collect the numbers of each token that it chose.

    They are what training computes from: log-probs, rewards, and the quantities of the run's algorithm.

    People are not asked about the episodes: where they pay or answer, they pay 0 and say nothing.

    The prompts are the first ones of `dyngen eval` with this seed, unless others are given.

    Args:
        run: a folder, a name in runs/, or "latest".
        episodes: how many; rounded up to whole groups in a run that compares episodes of one prompt.
        seed: of the choice of examples and of the sampling.
        split: "train", "tune" or "eval" part of the run's prompts.
        prompts: begin with these instead, in turn.
        device: None is the run's own.
        reward, user: those from Python that the run was trained with, if it was.

    Returns:
        what `inspection.page.write_page` shows, in values that JSON can hold: "run", "quantities", "notes" and
        "episodes"; see `episode_record`.

    Raises:
        FileNotFoundError: no such run. ValueError: it is damaged, or an argument cannot work.
    """
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}, expected at least 1")
    opened = open_run(run, split=split, num_envs=episodes, device=device, reward=reward, user=user, with_algorithm=True)
    env, config, record = opened.env, opened.config, opened.record

    scale = RewardScale(**record["reward_scale"])
    play = _Play(env, episodes, seed, prompts, scale, config.missing_eos_penalty)
    with played_by(asks=False):
        batch = opened.algorithm.experience(play)
    learned = replace(batch, rewards=play.learned_rewards(batch))
    diagnostics = opened.algorithm.diagnostics(learned)
    quantities, ref_logprobs = quantities_of(batch, opened.policy, opened.reference, diagnostics)
    numbers = {quantity.key: quantity.values for quantity in quantities} | {"ref_logprob": ref_logprobs}
    return {
        "run": {
            "folder": str(opened.folder),
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
        "notes": [
            *diagnostics.notes,
            *notes_on_scale(scale, config.missing_eos_penalty),
            *([NOBODY_ASKED] if env.asks_people else []),
        ],
        "episodes": [
            episode_record(env.tokenizer, opened.policy, opened.reference, batch, numbers, row)
            for row in range(len(batch))
        ],
    }


@dataclass(frozen=True)
class _Play:
    """Plays the episodes of a page: the first examples of an evaluation, or given prompts."""

    env: TextGenVectorEnv
    episodes: int
    seed: int
    prompts: Sequence[str]
    scale: RewardScale
    missing_eos_penalty: float

    def learned_rewards(self, batch: Trajectories) -> Tensor:
        return scaled_rewards(batch, self.scale, self.missing_eos_penalty)

    def __call__(self, actor: Callable[[int], Act], *, group_size: int = 1, bootstrap: Any = None) -> Trajectories:
        env, groups = self.env, -(-self.episodes // group_size)
        given = [*map(Example, islice(cycle(self.prompts), groups))]
        examples = [example for example in given or draw_examples(env, groups, self.seed) for _ in range(group_size)]
        seeds = [self.seed + i // group_size for i in range(len(examples))]  # a group meets the same user
        batch = collect(env, actor(self.seed), len(examples), seed=seeds, examples=examples, bootstrap=bootstrap)
        return replace(batch, groups=torch.arange(len(batch), device=env.device) // group_size)
