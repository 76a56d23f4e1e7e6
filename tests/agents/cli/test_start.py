"""What the command does before it imports PyTorch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dyngen_agents
import dyngen_env
from dyngen_agents.cli.main import main

PACKAGES = Path(dyngen_agents.__file__).parents[1]
FIRST_TORCH = """
import sys
from importlib.abc import MetaPathFinder

class AtTorch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            {does}

sys.meta_path.insert(0, AtTorch())
from dyngen_agents.cli.main import main
sys.exit(main(["eval", "latest"]))
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """What a fresh interpreter makes of it."""
    chosen = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    path = os.pathsep.join([str(PACKAGES), str(PACKAGES.parent)])
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=chosen | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "given, seen",
    [
        ({}, "PASSIVE 0"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"GOMP_SPINCOUNT": "500"}, "PASSIVE 500"),
    ],
)
def test_threads_sleep_while_they_wait_unless_somebody_has_chosen(given, seen):
    report = "import os; print(os.getenv('OMP_WAIT_POLICY'), os.getenv('GOMP_SPINCOUNT')); sys.exit(7)"
    done = python(FIRST_TORCH.format(does=report), **given)
    assert (done.returncode, done.stdout.strip()) == (7, seen), done.stderr


def test_ctrl_c_while_libraries_are_imported():
    done = python(FIRST_TORCH.format(does="raise KeyboardInterrupt"))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("arguments", [["--help"], ["trian"], []])
def test_what_needs_no_model_does_not_wait_for_pytorch(arguments):
    code = "import sys; from dyngen_agents.cli.main import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    assert python(code, *arguments).stdout.splitlines()[-1] == "False"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dyngen {dyngen_env.__version__}\n"
