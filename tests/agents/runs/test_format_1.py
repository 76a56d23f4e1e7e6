"""Run folders of format 1, made before algorithms had a state of their own: they load, go on and are inspected."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCEConfig
from dyngen_agents.evaluation.evaluate import evaluate
from dyngen_agents.inspection.inspect_run import inspect_run
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.learner import Learner
from dyngen_agents.training.train import train

KEYS = [
    "format", "algorithm", "iteration", "seconds", "model", "train", "algorithm_config", "custom_reward", "kl_control",
    "reward_scale", "versions", "files",
]  # fmt: skip


def make_format_1(run):
    """Rewrite a run's files as the first version of the format had them."""
    record = json.loads((run / "run.json").read_text())
    state = record.pop("algorithm_state")
    record |= {"format": 1, "kl_control": state["kl_control"]}
    assert state["updates"] == record["iteration"]
    tensors = load_file(run / "training.safetensors")
    head = {"value_head.weight": torch.zeros(1, 32), "value_head.bias": torch.zeros(1)}  # whatever the algorithm
    save_file(head | tensors, run / "training.safetensors")
    data = (run / "training.safetensors").read_bytes()
    record["files"]["training.safetensors"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert set(KEYS) <= set(record)
    (run / "run.json").write_text(json.dumps({key: record[key] for key in KEYS}))


@pytest.mark.parametrize(
    "algorithm",
    [PPOConfig(minibatch_size=4, kl_target=0.1, kl_horizon=50), REINFORCEConfig(baseline="rloo", group_size=2)],
    ids=["ppo", "reinforce"],
)
def test_a_run_of_format_1_goes_on_exactly(tiny_config, algorithm):
    settings = tiny_config(updates=3)
    whole, half = (Learner(settings, algorithm) for _ in range(2))
    for _ in range(3):
        whole.learn(whole.play())
    whole.save(Path("whole"))
    for _ in range(2):
        half.learn(half.play())
    half.save(Path("half"))
    make_format_1(Path("half"))
    train(TrainConfig(resume="half"), type(algorithm)())
    ours, theirs = (open_checkpoint(Path(name)) for name in ("half", "whole"))
    assert ours.record["format"] == 2
    states = [checkpoint.record["algorithm_state"] for checkpoint in (ours, theirs)]
    for state in states:
        state.pop("largest_return", None)  # of the critic's alarm, which format 1 does not know
    assert states[0] == states[1]
    for name in ("model.safetensors", "training.safetensors"):
        a, b = load_file(f"half/{name}"), load_file(f"whole/{name}")
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_of_format_1_is_evaluated_and_inspected(tiny_config):
    run = train(tiny_config(updates=2), PPOConfig(learning_rate=5e-3, minibatch_size=4))
    evaluation, episodes = evaluate(run, 4), inspect_run(run, 2)["episodes"]
    make_format_1(run)
    assert evaluate(run, 4) == evaluation
    assert inspect_run(run, 2)["episodes"] == episodes
