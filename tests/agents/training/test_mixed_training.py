"""Runs in an env that plays several ids: figures of each task, and weights that follow what is learned."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from dyngen_agents.algorithms.grpo import GRPOConfig
from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.cli.tables import evaluation_table
from dyngen_agents.data.episodes import read_episodes
from dyngen_agents.evaluation.evaluate import evaluate
from dyngen_agents.inspection.inspect_run import inspect_run
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.learner import Learner
from dyngen_agents.training.learning_curve import draw_learning_curve
from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.train import train
from tests.support.envs import SMALL_IDS

SCALES = (0.5, 4.0)
MIXED = dict(env="dyngen/Mix-v0", tasks=dict.fromkeys(SMALL_IDS, 1), task_scales=SCALES, prompts=None,
             max_new_tokens=None, max_context_tokens=60)  # fmt: skip
PPO = PPOConfig(epochs=1, minibatch_size=8)


@pytest.fixture
def mixed_config(tiny_config):
    return lambda **changes: tiny_config(**{**MIXED, **changes})


def test_a_resumed_run_goes_on_with_the_weights_of_its_tasks(mixed_config):
    settings = mixed_config(updates=4, task_weights="progress", num_envs=16, episodes=16)
    whole = train(replace(settings, out="whole"), PPO)
    run = train(replace(settings, out="parts", max_minutes=1e-9), PPO)
    for _ in range(2):  # stops amid the run once
        learner = Learner(settings, PPO, checkpoint=open_checkpoint(run))
        learner.learn(learner.play())
        learner.save(run)
    train(TrainConfig(resume=str(run), max_minutes=10.0))
    assert open_checkpoint(run).record["task_progress"] == open_checkpoint(whole).record["task_progress"]
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = load_file(run / name), load_file(whole / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    records = read_metrics(whole)
    for record in records:
        tasks = record["tasks"]
        assert sum(task["share"] for task in tasks.values()) == 1
        scaled = [t["share"] * t["reward"] / s for t, s in zip(tasks.values(), SCALES, strict=True) if len(tasks) == 2]
        assert not scaled or sum(scaled) == pytest.approx(record["reward"], abs=1e-5)
    fast = open_checkpoint(whole).record["task_progress"]["fast"]
    assert fast.keys() == SMALL_IDS.keys()
    draw_learning_curve(whole / "learning_curve.png", records, "mixed")
    assert Image.open(whole / "learning_curve.png").size == (1350, 840)


def test_an_evaluation_tells_each_task_in_its_own_units(mixed_config):
    run = train(mixed_config(updates=1), PPO)
    result = evaluate(run, 32)
    for figures in result.values():
        tasks = figures["tasks"]
        assert list(tasks) == list(SMALL_IDS)
        scaled = [one["reward_mean"] / scale for one, scale in zip(tasks.values(), SCALES, strict=True)]
        assert sum(scaled) / 2 == pytest.approx(figures["reward_mean"], abs=1e-5)  # 16 episodes of each
        for one, own in zip(tasks.values(), (("length", "repetition"), ("rating", "length")), strict=True):
            assert list(one["reward_terms"])[:2] == list(own) and set(one["reward_terms"]) == {*own, "illegal"}
            assert sum(one["reward_terms"].values()) == pytest.approx(one["reward_mean"], abs=1e-5)
    gains = [one["reward_gain"] / scale for one, scale in zip(result["trained"]["tasks"].values(), SCALES, strict=True)]
    assert sum(gains) / 2 == pytest.approx(result["trained"]["reward_gain"], abs=1e-5)
    assert Counter(e.example.task for e in read_episodes(run / "episodes.jsonl")) == dict.fromkeys(SMALL_IDS, 32)
    pages = inspect_run(run, 4)["episodes"]
    assert {page["task"] for page in pages} == SMALL_IDS.keys()
    for page in pages:
        assert (
            all(term.startswith(page["task"].split("/")[1]) for term in page["reward_terms"]) and page["reward_terms"]
        )
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(evaluation_table(result))
    shown = console.export_text()
    assert all(name in shown for name in SMALL_IDS) and shown.count("reward, as played alone") == 2


def test_a_group_shares_task_and_prompt(mixed_config):
    learner = Learner(mixed_config(episodes=24, num_envs=24), GRPOConfig(group_size=4))
    batch = learner.play()
    of_groups = [{(batch.tasks[i], batch.prompts[i]) for i in range(start, start + 4)} for start in range(0, 24, 4)]
    assert all(len(kinds) == 1 for kinds in of_groups) and len(set.union(*of_groups)) > 2
    assert len({task for task, _ in set.union(*of_groups)}) == 2


def test_an_env_of_one_task_makes_no_progress_in_several(tiny_config):
    with pytest.raises(ValueError, match="dyngen/Sentiment-v0 plays one task; name several by tasks="):
        Learner(tiny_config(task_weights="progress"), PPO)


def test_dense_credit_reaches_the_tasks(mixed_config):
    """`length` costs nothing to score, so it is paid token by token: rewards change, and returns do not."""
    dense, sparse = (Learner(mixed_config(credit=credit), PPO).play() for credit in ("auto", "end"))
    assert torch.equal(dense.tokens, sparse.tokens)
    torch.testing.assert_close(dense.episode_returns, sparse.episode_returns)
    assert dense.reward_terms.keys() == sparse.reward_terms.keys()
    silent = torch.tensor([task == "small/Write-v0" for task in dense.tasks])
    paid = [(batch.rewards[silent] != 0).sum(1) for batch in (dense, sparse)]
    assert (paid[1] <= 1).all() and (paid[0] > 1).any()
