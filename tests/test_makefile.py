"""Which build of PyTorch `make setup` installs, seen by an interpreter that only says what it is asked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import dyngen_env

ROOT = Path(dyngen_env.__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


@pytest.fixture
def torch_installed(tmp_path, monkeypatch):
    """What pip is asked for torch, given whether its indexes have a CPU build and what else make is told."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "constraints.txt").write_text("numpy==1.0\ntorch==2.0.0\n")
    programs = {
        ".venv/bin/pip": "",
        ".venv/bin/python": 'case "$*" in *--dry-run*) exit $NO_CPU_BUILD;; *torch*) echo "${@:4}";; esac',
        "bin/nvidia-smi": "exit $NO_GPU",
        "bin/uname": "echo Linux",
    }
    for name, does in programs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def make(*arguments: str, cpu_build: bool = True, gpu: bool = False) -> list[str]:
        monkeypatch.setenv("NO_CPU_BUILD", str(int(not cpu_build)))
        monkeypatch.setenv("NO_GPU", str(int(not gpu)))
        done = subprocess.run(["make", "-s", "setup", *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return make


def test_the_cpu_build_where_there_is_no_gpu(torch_installed):
    assert torch_installed() == ["install -c .ci/constraints.txt torch==2.0.0+cpu"]


def test_the_plain_build_for_a_gpu(torch_installed):
    assert torch_installed(gpu=True) == ["install -c .ci/constraints.txt torch"]


def test_the_plain_build_and_a_hint_where_pip_finds_no_other(torch_installed):
    *hint, installed = torch_installed(cpu_build=False)
    assert installed == "install -c .ci/constraints.txt torch"
    assert "TORCH_INDEX=" in " ".join(hint)


def test_an_index_of_ones_own(torch_installed):
    installed = torch_installed("TORCH_INDEX=file:///builds", gpu=True)
    assert installed == ["install -c .ci/constraints.txt --index-url file:///builds torch"]
