"""Terminals of any encoding: no command fails after its work because of a character."""

import io
import sys

import pytest

from dyngen_agents.cli.main import main
from dyngen_agents.training.train import train


@pytest.fixture(params=["ascii", "latin-1"])
def carry_out(request, monkeypatch):
    """`main` on a terminal as LANG=C or PYTHONIOENCODING make it: the exit code and what the terminal shows."""

    def call(*arguments: str) -> tuple[int, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=request.param, errors="strict") for _ in range(2)]
        with monkeypatch.context() as patch:  # within the test: pytest itself sets both streams before it
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            code = main(arguments)
            for stream in streams:
                stream.flush()
        return code, "".join(stream.buffer.getvalue().decode(request.param) for stream in streams)

    return call


@pytest.fixture
def run(tiny_config):
    return str(train(tiny_config(max_minutes=1e-9)))


def test_train_eval_and_inspect(run, carry_out):
    for arguments in (["train", "--resume", run, "--eval-episodes", "4"], ["eval", run, "--episodes", "4"]):
        code, shown = carry_out(*arguments)
        assert code == 0
        assert "VADER compound" in shown
    assert carry_out("inspect", run, "--episodes", "1")[0] == 0


def test_generate_writes_anything(run, carry_out):
    code, shown = carry_out("generate", run, "--prompt", "“quotes” – 日本 🎬")
    assert code == 0
    assert shown.startswith('"quotes" - ?? ?')


def test_errors(carry_out):
    code, shown = carry_out("eval", "“日本”")
    assert code == 2
    assert """no run '"??"'""" in shown
