"""An algorithm that shares nothing with ours trains, goes on and is inspected by its entry in the registry alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

from dyngen_agents.algorithms.algorithm import AlgorithmState, Diagnostics, Quantity
from dyngen_agents.algorithms.registry import ALGORITHMS
from dyngen_agents.cli.main import main
from dyngen_agents.inspection.inspect_run import inspect_run
from dyngen_agents.policy.actor import Actor
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.train import train


@dataclass(frozen=True)
class DriftConfig:
    """Train by drift: add a constant to the final norm's bias, whatever was played."""

    size: float = 0.5
    """How much is added."""


class Drift:
    """No optimizer, no reference, no KL, no value head."""

    Config: ClassVar[type] = DriftConfig

    def __init__(self, policy, reference, config=None, *, total_updates=0, episodes=0, seed=0, processes=None):
        self.policy, self.config = policy, config or DriftConfig()
        self.drifted, self.words = torch.zeros(3), []

    def actor(self, seed):
        return Actor(self.policy, seed)

    def experience(self, play):
        return play(self.actor, group_size=2)

    @torch.no_grad()
    def update(self, batch):
        assert batch.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        self.policy.lm.transformer.ln_f.bias += self.config.size
        self.drifted += self.config.size
        self.words.append(len(batch.texts))
        return {"kl_per_token": 0.0, "entropy": 1.0, "drifted": float(self.drifted[0])}

    def state(self):
        return AlgorithmState({"far": self.drifted}, {"words": self.words})

    def load_state(self, state, *, for_training=True):
        self.drifted, self.words = state.tensors["far"].clone(), list(state.values["words"])

    def diagnostics(self, batch):
        drift = torch.full(batch.tokens.shape, float(self.drifted[0]))
        return Diagnostics(
            [Quantity("drift", "drift", "How far it has gone", drift, "units")], ["Nothing was learned."]
        )


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "drift", Drift)


def test_a_run_of_it_is_saved_and_goes_on(tiny_config):
    whole = train(tiny_config(updates=3, out="whole"), DriftConfig(0.25))
    assert [record["drifted"] for record in read_metrics(whole)] == [0.25, 0.5, 0.75]
    record = open_checkpoint(whole).record
    assert (record["algorithm"], record["algorithm_config"]) == ("drift", {"size": 0.25})
    assert record["algorithm_state"] == {"words": [8, 8, 8]}
    assert load_file(whole / "training.safetensors")["far"].tolist() == [0.75] * 3
    parts = train(tiny_config(updates=3, out="parts", max_minutes=1e-9), DriftConfig(0.25))
    train(TrainConfig(resume=str(parts), max_minutes=10.0))
    assert open_checkpoint(parts).record["algorithm_state"] == record["algorithm_state"]


def test_its_quantities_are_on_the_page(tiny_config):
    run = train(tiny_config(updates=1), DriftConfig(0.25))
    data = inspect_run(run, 3)
    assert [quantity["key"] for quantity in data["quantities"]] == ["reward", "drift", "kl", "entropy", "logprob"]
    assert data["quantities"][1] == dict(
        key="drift", label="drift", about="How far it has gone", unit="units", signed=True
    )
    assert data["notes"] == ["Nothing was learned."]
    assert len(data["episodes"]) == 4  # whole groups
    tokens = [t for turn in data["episodes"][0]["turns"] if turn["role"] == "agent" for t in turn["tokens"]]
    assert {token["drift"] for token in tokens} == {0.25}


def test_the_command_has_it_with_its_options_and_its_help(tiny_config, capsys):
    config = tiny_config()
    options = ["--model", config.model, "--prompts", config.prompts, "--max-new-tokens", "6", "--episodes", "8"]
    arguments = ["train", "drift", *options, "--updates", "1", "--size", "0.125", "--eval-episodes", "4", "--json"]
    assert main(arguments) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    assert open_checkpoint(Path(run)).record["algorithm_config"] == {"size": 0.125}
    with pytest.raises(SystemExit):
        main(["train", "drift", "--help-all"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Train by drift" in shown and "--size" in shown
