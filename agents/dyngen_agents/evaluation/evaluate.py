"""Evaluation: the trained and the untrained model complete the same held-out prompts with the same random numbers."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from torch import Tensor

from dyngen_agents.data.batching import map_in_batches
from dyngen_agents.data.episodes import EPISODES, Episode, recorded, write_episodes
from dyngen_agents.data.rollout import collect
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.evaluation.best_of_n import best_of_n
from dyngen_agents.evaluation.intervals import half_interval
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.environment import draw_examples
from dyngen_agents.runs.from_python import CustomReward
from dyngen_agents.runs.opened_run import open_run
from dyngen_agents.runs.tasks import by_task, own_units, tasks_of
from dyngen_env.envs.mixture.ids import TaskId
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.lm.logprobs import completion_logprobs
from dyngen_env.scoring.diversity import distinct_n
from dyngen_env.scoring.sentiment import vader
from dyngen_env.users import User

log = logging.getLogger(__name__)

MAX_TOKENS = 4096  # padded tokens of a forward pass: bounds memory, changes no result


def evaluate(
    run: str | Path,
    episodes: int = 256,
    seed: int = 0,
    *,
    device: str | None = None,
    reward: CustomReward = None,
    user: User | None = None,
    best_of: int = 0,
) -> dict[str, dict[str, Any]]:
    """Compare a run's model with the untrained one on the eval part of the run's prompts, which was not trained on.

    Each example is played once (again only if there are fewer than `episodes`), by both models with equal uniforms.
    What was played is written to episodes.jsonl in the run's folder, for `rescore`; see `data.episodes`.

    Args:
        run: a folder, a name in runs/, or "latest". seed: of the choice of examples and of the sampling.
        device: where models run; None is the run's own.
        reward, user: those from Python that the run was trained with, if it was; or others, to see what they say.
        best_of: let the untrained model write so many completions of some examples, too, `episodes` times four in all,
            and tell what choosing the best of them earns; 0 leaves that out. Not where a user answers.

    Returns:
        "trained" and "untrained", each with
        `reward_mean`; `reward_ci95`, half the width of the 95% interval of that mean, in which episodes of the same
        prompt count together (`intervals.half_interval`); `reward_terms`, means by name; `vader`, the mean compound
        score; `kl_per_episode`, the mean over episodes of the sum of log π - log π_ref over their tokens, nats, and
        `kl_per_episode_ci95`; `kl_per_token`, the same over all tokens; `distinct_1`, `distinct_2`; `length_mean`,
        tokens; `perplexity_ref`, exp of the mean negative log-prob of the tokens under the untrained model at
        temperature 1. Where users rate, also `rating_by_turn`, means over the dialogues that got so far;
        `rating_later`, the mean over dialogues of a dialogue's mean rating in turns 2 and later, which feedback could
        have changed; `rating_later_ci95`, half the width of its 95% interval.
        "trained" also has `reward_gain`, the mean of what an episode earned more than the untrained model's with the
        same prompt and uniforms, and `reward_gain_ci95` of these differences.
        "untrained" also has `best_of_n`, if it was asked for, as `evaluation.best_of_n` returns it.
        Where the env plays several tasks, both have `tasks`: by id, the same figures of its episodes alone, rewards in
        the task's own units. A task with fewer than two episodes is left out.

    Raises:
        FileNotFoundError: no such run. ValueError: it is damaged, fewer than two episodes, or a negative best_of.
    """
    if best_of < 0:
        raise ValueError(f"best_of is {best_of}, expected a number of completions, or 0 for none")
    if episodes < 2:
        raise ValueError(f"episodes is {episodes}, expected at least 2: one has no spread")
    opened = open_run(run, num_envs=episodes, device=device, reward=reward, user=user)
    examples, tasks = draw_examples(opened.env, episodes, seed), tasks_of(opened.config, opened.given)
    results, played, returns = {}, list[Episode](), []
    for name, actor in (("trained", opened.actor), ("untrained", opened.untrained_actor)):
        batch = collect(opened.env, actor(seed), episodes, examples=examples, seed=seed)
        results[name] = measure(batch, opened.reference)
        if tasks:
            results[name]["tasks"] = measure_tasks(batch, opened.reference, tasks)
        returns.append(batch.episode_returns.double().numpy(force=True))
        played += recorded(batch, examples, opened.record["model"], name)
    gains, prompts = returns[0] - returns[1], [example.prompt for example in examples]
    results["trained"] |= _gain(gains, prompts)
    for task in tasks:
        rows = [row for row, example in enumerate(examples) if example.task == task.name]
        if task.name in results["trained"]["tasks"]:
            gain = _gain(task.scale * gains[rows], [prompts[row] for row in rows])
            results["trained"]["tasks"][task.name] |= gain
    if best_of and not opened.env.user.answers:
        line = best_of_n(opened.env, opened.untrained, best_of, max(1, 4 * episodes // best_of), seed)
        results["untrained"]["best_of_n"] = line
    try:
        write_episodes(opened.folder / EPISODES, played)
    except OSError as error:
        log.warning("%s was not written: %s", opened.folder / EPISODES, error)
    return results


def measure(batch: Trajectories, reference: Reference) -> dict[str, Any]:
    """The figures that `evaluate` returns for one policy, from N ≥ 2 of its episodes.

    Args:
        batch: the episodes. reference: the untrained model, to measure KL and perplexity by.
    """
    returns, mask = batch.episode_returns.double(), batch.completion_mask
    tokens = int(mask.sum())
    kl = kl_of_episodes(batch, reference)
    as_it_is = reference.distribution.with_sampling(SamplingConfig())

    def logprobs(tokens: Tensor, completion_mask: Tensor, notes: Notes | None = None) -> Tensor:
        return completion_logprobs(reference.lm, tokens, completion_mask, as_it_is, notes)

    plain = map_in_batches(logprobs, batch, MAX_TOKENS)
    return {
        **ratings_of(batch),
        "reward_mean": float(returns.mean()),
        "reward_ci95": half_interval(returns.numpy(force=True), batch.prompts),
        "reward_terms": {name: float(paid.double().mean()) for name, paid in batch.reward_terms.items()},
        "vader": sum(map(vader, batch.texts)) / len(batch),
        "kl_per_episode": float(kl.mean()),
        "kl_per_episode_ci95": half_interval(kl.numpy(force=True), batch.prompts),
        "kl_per_token": float(kl.sum()) / tokens,
        "distinct_1": distinct_n(batch.texts, 1),
        "distinct_2": distinct_n(batch.texts, 2),
        "length_mean": tokens / len(batch),
        "perplexity_ref": math.exp(-float(plain.double().sum()) / tokens),
    }


def measure_tasks(batch: Trajectories, reference: Reference, tasks: Sequence[TaskId]) -> dict[str, dict[str, Any]]:
    """The figures of each task of a mixture that has two episodes or more, by id, in its own units."""
    return {
        task.name: own_units(measure(batch.take(rows), reference), task)
        for task, rows in by_task(batch, tasks)
        if len(rows) > 1
    }


def _gain(gains: np.ndarray, prompts: Sequence[str]) -> dict[str, float]:
    """The mean of what episodes earned more, (N,), and half of its 95% interval."""
    return {"reward_gain": float(gains.mean()), "reward_gain_ci95": half_interval(gains, prompts)}


def ratings_of(batch: Trajectories) -> dict[str, Any]:
    """Means of the users' ratings, by the names that `evaluate` lists.

    Empty if fewer than two dialogues had a rated turn after the first: then there is no mean over later turns, or no
    spread. Turns that nobody rated count nowhere, and neither do drafts that were sent back; a turn that no dialogue
    has a rating of has None.
    """
    turns = [[turn["rating"] for turn in dialogue if "rating" in turn and not turn.get("revise")]
             for dialogue in batch.dialogues if dialogue is not None]  # fmt: skip
    later = [fmean(given) for ratings in turns if (given := [r for r in ratings[1:] if r is not None])]
    if len(later) < 2:
        return {}
    by_turn = [[r for r in ratings if r is not None] for ratings in zip_longest(*turns)]
    return {
        "rating_by_turn": [fmean(ratings) if ratings else None for ratings in by_turn],
        "rating_later": fmean(later),
        "rating_later_ci95": 1.96 * stdev(later) / math.sqrt(len(later)),
    }


def kl_of_episodes(batch: Trajectories, reference: Reference) -> Tensor:
    """The KL divergence of each episode from the reference, (N,) float64, in nats.

    It is estimated by the sum of log π - log π_ref over the tokens that the policy chose.
    """
    ref_logprobs = map_in_batches(reference.logprobs, batch, MAX_TOKENS)
    return ((batch.logprobs - ref_logprobs) * batch.completion_mask).double().sum(1)
