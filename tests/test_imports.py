"""What our packages and our command import and write in a fresh interpreter: nothing that takes seconds, no warning."""

import json
import subprocess
import sys

import pytest

SLOW = (
    "torch",
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
import runpy
sys.argv = ["dyngen", "--help"]
try:
    runpy.run_module("dyngen_agents.cli", run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
"""
STEPS = {  # in this order, in one interpreter: a step is blamed for what it imports first
    "dyngen_env": "import dyngen_env",
    "torch": "import torch",
    "dyngen_env's parts": "import dyngen_env.lm, dyngen_env.rewards, dyngen_env.users, dyngen_env.wrappers\n"
    "from dyngen_env import *",
    "dyngen_agents": "import dyngen_agents\nfrom dyngen_agents import *",
    "dyngen --help": HELP,
    "loading": "from dyngen_env.lm import load_model, load_tokenizer\n"
    "load_tokenizer('reviews-lm'), load_model('reviews-lm')",
}
FRESH = f"""
import contextlib, io, json, sys
known, report = set(sys.modules), dict()
for step, code in {STEPS!r}.items():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, dict(sys=sys))
    slow = [name for name in {SLOW!r} if name in sys.modules and name not in known]
    report[step] = dict(slow=slow, out=out.getvalue())
    known |= set(sys.modules)
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def fresh():
    """By step: the slow modules that it imported first, and what it printed."""
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("step", ["dyngen_env", "dyngen_env's parts", "dyngen_agents", "dyngen --help"])
def test_imports_nothing_that_takes_seconds(fresh, step):
    assert fresh[step]["slow"] == []


def test_the_command_helps_and_nothing_else_is_written(fresh):
    assert "usage: dyngen COMMAND" in fresh["dyngen --help"]["out"]
    assert [step for step in STEPS if fresh[step]["out"]] == ["dyngen --help"]
    assert "transformers" in fresh["loading"]["slow"]  # else this interpreter had loaded no model
