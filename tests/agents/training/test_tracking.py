"""Experiment trackers beside TensorBoard: what they are told, by stand-ins for the packages."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.train import TrainConfig, train


class FakeTracker(SimpleNamespace):
    """A module with the `init` of wandb and trackio, which notes down what it is told."""

    def __init__(self):
        super().__init__(runs=[])

    def init(self, **about):
        run = SimpleNamespace(about=about, logged=[], finished=False)
        run.log = lambda numbers, step: run.logged.append((step, numbers))
        run.finish = lambda: setattr(run, "finished", True)
        self.runs.append(run)
        return run


@pytest.fixture(params=["wandb", "trackio"])
def tracker(request, monkeypatch):
    module = FakeTracker()
    monkeypatch.setitem(sys.modules, request.param, module)
    monkeypatch.delenv(f"{request.param.upper()}_PROJECT", raising=False)
    module.name = request.param
    return module


def test_a_tracker_gets_settings_and_every_update(tiny_config, tracker):
    run = train(tiny_config(track=tracker.name, updates=2))
    (told,) = tracker.runs
    assert told.finished
    about = told.about
    assert (about["project"], about["name"], about["resume"]) == ("dyngen", run.name, "allow")
    assert (about["config"]["algorithm"], about["config"]["episodes"], about["config"]["clip_coef"]) == ("ppo", 8, 0.2)
    own = {key: about[key] for key in about.keys() & {"id", "dir"}}
    assert own == ({"id": run.name, "dir": str(run)} if tracker.name == "wandb" else {})
    metrics = read_metrics(run)
    assert [step for step, _ in told.logged] == [1, 2]
    for (_, numbers), record in zip(told.logged, metrics, strict=True):
        assert numbers["reward"] == record["reward"]
        assert numbers["reward_terms/sentiment"] == record["reward_terms"]["sentiment"]


def test_a_resumed_run_is_tracked_under_the_same_name(tiny_config, tracker):
    run = train(tiny_config(track=tracker.name, max_minutes=1e-9))
    train(TrainConfig(resume=str(run)))
    first, second = tracker.runs
    assert first.about["name"] == second.about["name"] == run.name
    assert [step for step, _ in second.logged] == [1, 2, 3]


def test_the_trackers_own_variable_names_the_project(tiny_config, tracker, monkeypatch):
    monkeypatch.setenv(f"{tracker.name.upper()}_PROJECT", "films")
    train(tiny_config(track=tracker.name, updates=1))
    assert tracker.runs[0].about["project"] == "films"


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_that_is_not_installed(tiny_config, name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)  # so that the import fails, installed or not
    with pytest.raises(ImportError, match=f"track='{name}' needs the package {name}: pip install {name}"):
        train(replace(tiny_config(), track=name))
    assert not (tmp_path / "runs").exists()
