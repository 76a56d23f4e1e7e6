"""What our packages and our command import before anybody has asked for a model: nothing that takes seconds."""

import subprocess
import sys

import pytest

SLOW = (
    "transformers",
    "torch._dynamo",
    "torch.distributed.tensor",
    "accelerate",
    "gguf",
    "matplotlib",
    "peft",
    "sklearn",
    "stable_baselines3",
    "tensorboard",
    "torch.utils.tensorboard",
)
HELP = """
import runpy, sys
sys.argv = ["dyngen", *sys.argv[1:]]
try:
    runpy.run_module("dyngen_agents.cli", run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import dyngen_env, dyngen_env.lm, dyngen_env.rewards, dyngen_env.users, dyngen_env.wrappers",
        "import dyngen_agents\nfrom dyngen_agents import *",
        HELP,
    ],
    ids=["dyngen_env", "dyngen_agents", "dyngen --help"],
)
def test_imports_nothing_that_takes_seconds(code):
    before = "import sys, torch\nknown = set(sys.modules)\n"
    report = f"\nprint('SLOW', *[name for name in {SLOW} if name in sys.modules and name not in known])"
    arguments = ["--help"] if code is HELP else []
    done = subprocess.run([sys.executable, "-c", before + code + report, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["SLOW"]
