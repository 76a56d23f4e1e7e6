"""Two processes learn what one learns from the same batch; under a launcher the command writes one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import dyngen_env
from dyngen_agents.cli.main import main
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.training.metrics_log import TENSORBOARD, read_metrics
from tests.support.forked import forked, needs_fork
from tests.support.recorded_run import RUNS, record, record_as

ROOT = Path(dyngen_env.__file__).parents[1]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@contextmanager
def two_processes(*arguments):
    """`torchrun` with two processes of one thread each, in which our packages are found from any working directory."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "agents"))),
    }
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    launcher = subprocess.Popen([*TORCHRUN, *arguments], env=environment, text=True, **pipes)
    try:
        yield launcher
    finally:
        launcher.terminate()  # the launcher ends its processes; killed, it would leave them waiting for each other
        launcher.communicate(timeout=60)


@needs_fork
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_learn_what_one_learns(tiny_model, prompts_file, tmp_path, name):
    arguments = (str(tiny_model), str(prompts_file), name)
    with ExitStack() as stack:
        ranks = [
            stack.enter_context(forked(lambda rank=rank: record_as(rank, tmp_path, *arguments), tmp_path / f"{rank}"))
            for rank in (0, 1)
        ]
        alone = record(*arguments)
        for rank, process in enumerate(ranks):
            process.join(230)
            assert process.exitcode == 0, (tmp_path / f"{rank}").read_text()
    both = [load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1)]
    for ours in both:
        assert ours.keys() == alone.keys()
        for key, expected in alone.items():
            if key.endswith("idle_share"):
                continue  # how much rows wait depends on how many there are
            if key.startswith("tokens"):
                assert torch.equal(ours[key], expected), key
            else:
                near = dict(atol=1e-6 if key.startswith(("weight", "gradient")) else 1e-5, rtol=0)
                torch.testing.assert_close(ours[key], expected, **near, msg=lambda m, k=key: f"{k}: {m}")
    assert sum(key.startswith("gradient") for key in alone) > 30
    first, second = both
    for key in first:  # else the processes would drift apart
        assert torch.equal(first[key], second[key]), key


def test_the_command_under_torchrun(tiny_config, tmp_path, capsys):
    config = tiny_config()
    settings = [
        "--model", config.model, "--prompts", config.prompts, "--max-new-tokens", "6", "--num-envs", "4",
        "--episodes", "8", "--updates", "100000", "--save-every", "99999", "--eval-episodes", "0",
    ]  # fmt: skip
    with two_processes("-m", "dyngen_agents.cli", "train", "ppo", *settings) as launcher:
        until = time.monotonic() + 150
        while not (runs := list(tmp_path.glob("runs/*-ppo"))) or len(read_metrics(runs[0])) < 2:
            assert launcher.poll() is None, launcher.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.05)
        launcher.send_signal(signal.SIGINT)  # the launcher passes it on to both
        shown, said = launcher.communicate(timeout=60)
    assert said.count("by 2 processes") == 1
    assert said.count("SIGINT: saving the run") == 1
    assert "updates are left. Go on" in said
    assert shown.count("before") == 1  # the table of samples
    runs = [path for path in (tmp_path / "runs").iterdir() if not path.is_symlink() and path.name != TENSORBOARD]
    assert len(runs) == 1
    run, iteration = runs[0], len(read_metrics(runs[0]))
    assert open_checkpoint(run).record["iteration"] == iteration >= 2
    assert [record["episodes"] for record in read_metrics(run)] == [8 * (i + 1) for i in range(iteration)]
    AutoModelForCausalLM.from_pretrained(run)
    assert main(["eval", "latest", "--episodes", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained"]["length_mean"] > 0
    # One process goes on with what two have begun.
    assert main(["train", "ppo", "--resume", str(run), "--max-minutes", "0.01", "--eval-episodes", "0"]) == 0
    assert open_checkpoint(run).record["iteration"] > iteration


@pytest.mark.parametrize("option", ["num-envs", "episodes"])
def test_numbers_that_cannot_be_split(tiny_config, monkeypatch, option):
    from dyngen_agents.distributed.processes import Processes
    from dyngen_agents.training import train

    config = tiny_config(num_envs=6, episodes=12) if option == "num-envs" else tiny_config(episodes=9)
    monkeypatch.setattr(train, "from_launcher", lambda: Processes(0, 4))
    with pytest.raises(
        ValueError, match=f"{option.replace('-', '_')}=. cannot be split over 4 processes: choose a multiple"
    ):
        train.train(config)
