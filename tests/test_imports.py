"""What our packages and our command import and write in a fresh interpreter: nothing that takes seconds, no warning."""

import json
import subprocess
import sys

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


def test_a_fresh_interpreter_imports_nothing_that_takes_seconds_and_writes_nothing():
    """One test, so that there is one interpreter."""
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert [step for step in STEPS if report[step]["out"]] == ["dyngen --help"]
    assert "torch" in report.pop("torch")["slow"] and "transformers" in report.pop("loading")["slow"]
    assert {step: found["slow"] for step, found in report.items() if found["slow"]} == {}
    assert "usage: dyngen COMMAND" in report["dyngen --help"]["out"]
