"""Runs of version 0.1, from before the packages were laid out anew, are evaluated and go on.

`run-0.1.tar.xz` was made by version 0.1: a tiny random model (base/), its PPO run after the first of three updates
(run/), and the metrics of all three (metrics-of-0.1.jsonl).
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from dyngen_agents import PPOConfig, TrainConfig, evaluate, read_metrics, train


@pytest.fixture
def former_run(tmp_path, monkeypatch) -> Path:
    with tarfile.open(Path(__file__).with_name("run-0.1.tar.xz")) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)  # run.json names base model and prompts by relative paths
    return tmp_path / "run"


def test_a_run_of_version_0_1_goes_on_as_it_would_have_there(former_run):
    """The two updates that are left use every part of the checkpoint: weights, value head, optimizer, β, seeds."""
    train(TrainConfig(resume=str(former_run)), PPOConfig())
    recorded = [json.loads(line) for line in former_run.with_name("metrics-of-0.1.jsonl").read_text().splitlines()]
    learned = read_metrics(former_run)
    assert len(learned) == len(recorded) == 3
    for now, then in zip(learned, recorded, strict=True):
        for name in (
            "reward",
            "length",
            "entropy",
            "value_mean",
            "value_loss",
            "grad_norm",
            "kl_coef",
            "learning_rate",
        ):
            assert now[name] == pytest.approx(then[name], rel=1e-3, abs=1e-6), name


def test_a_run_of_version_0_1_is_evaluated(former_run):
    scores = evaluate(former_run, episodes=4)
    assert scores["trained"]["reward_mean"] == pytest.approx(1 / 3, abs=1e-6)  # one word, of three that are wanted
