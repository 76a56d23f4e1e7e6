"""The commands that the program tells people to type: they run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

from dyngen_agents.cli import hints


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """A virtual environment's folder of programs, with an interpreter and a dyngen."""
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "dyngen"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return folder


def test_an_environment_that_is_activated(installed, monkeypatch):
    monkeypatch.setenv("PATH", f"{installed}:/usr/bin")
    assert hints.command_line("eval", "my run") == "dyngen eval 'my run'"


def test_an_environment_that_is_not_activated(installed, tmp_path, monkeypatch):
    """As after `make train`."""
    assert hints.command_line("eval", "latest") == "venv/bin/dyngen eval latest"
    monkeypatch.chdir("/usr")
    assert hints.command_line() == f"{tmp_path}/venv/bin/dyngen"


def test_another_installation_on_the_path(installed, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    (other / "dyngen").write_text("#!/bin/sh\n")
    (other / "dyngen").chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}:/usr/bin")
    assert hints.command_line() == "venv/bin/dyngen"


def test_a_source_tree_that_is_not_installed(installed):
    (installed / "dyngen").unlink()
    assert hints.command_line("eval") == f"{installed}/python -m dyngen_agents.cli eval"
    tensorboard = hints.command_line("--logdir", "runs", program="tensorboard", module="tensorboard.main")
    assert tensorboard == f"{installed}/python -m tensorboard.main --logdir runs"


def test_the_line_runs(tmp_path):
    done = subprocess.run(hints.command_line("--version"), shell=True, cwd=Path.cwd(), capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "dyngen"), done.stderr
