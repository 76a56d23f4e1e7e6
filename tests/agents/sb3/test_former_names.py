"""Files that SB3 wrote when our modules were called `agents.…` can be read, and nobody else's `agents` is disturbed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import dyngen_agents.sb3
from dyngen_agents.sb3 import LMActorCriticPolicy, SegmentRolloutBuffer
from dyngen_agents.sb3.former_names import FORMER, register_former_names
from dyngen_env.lm.distribution import SamplingConfig


def former_pickle(module: str, name: str) -> bytes:
    """A class as pickle's protocol 0 writes it: GLOBAL, the module's name, the class's name, STOP."""
    return f"c{module}\n{name}\n.".encode()


@pytest.mark.parametrize(
    ("module", "today"),
    [
        ("agents.sb3.policy", LMActorCriticPolicy),
        ("agents.sb3.segments", SegmentRolloutBuffer),
        ("agents.policy", SamplingConfig),
    ],
)
def test_a_class_is_found_by_its_former_name(module, today):
    assert pickle.loads(former_pickle(module, today.__name__)) is today


def test_the_maskable_policy_is_found_by_its_former_name():
    pytest.importorskip("sb3_contrib")
    from dyngen_agents.sb3.maskable import MaskableLMActorCriticPolicy

    found = pickle.loads(former_pickle("agents.sb3.maskable", "MaskableLMActorCriticPolicy"))
    assert found is MaskableLMActorCriticPolicy


def test_settings_pickled_under_the_former_name_keep_their_values():
    """As in the `policy_kwargs` of a saved PPO: a frozen dataclass, rebuilt from the dict of its fields."""
    fields = dict(temperature=0.7, top_k=5, top_p=0.9)
    written = pickle.dumps(SamplingConfig(**fields), protocol=0)
    former = written.replace(b"dyngen_env.lm.distribution", b"agents.policy")
    assert former != written and pickle.loads(former) == SamplingConfig(**fields)


def run(folder: Path, script: str) -> str:
    """Run a script as `python script.py` does in a project folder, with our packages installed."""
    (folder / "script.py").write_text(script)
    packages = [str(Path(dyngen_agents.__file__).parents[1]), str(Path(dyngen_agents.__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(packages)}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_project_with_a_folder_agents_of_its_own_keeps_it(tmp_path):
    """Two of its modules have former names of ours, one of them below a folder without `__init__`."""
    for name in ("policy", "sb3/policy", "mine"):
        path = tmp_path / "agents" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"OWNER = 'the project: {name}'\n")
    (tmp_path / "agents" / "__init__.py").write_text("OWNER = 'the project'\n")
    script = """
import pickle
import dyngen_agents.sb3
import agents, agents.mine, agents.policy, agents.sb3.policy
print(agents.OWNER, agents.mine.OWNER, agents.policy.OWNER, agents.sb3.policy.OWNER, sep=", ")
print(pickle.loads(b"cagents.sb3.segments\\nSegmentRolloutBuffer\\n."))
"""
    expected = (
        "the project, the project: mine, the project: policy, the project: sb3/policy\n"
        "<class 'dyngen_agents.sb3.segments.SegmentRolloutBuffer'>"
    )
    assert run(tmp_path, script) == expected


def test_the_name_agents_itself_is_left_alone(monkeypatch):
    for name in ("agents", *FORMER):  # as in a fresh interpreter: reading a pickle imports the package, too
        monkeypatch.delitem(sys.modules, name, raising=False)
    register_former_names()
    assert all(name in sys.modules for name in FORMER) and "agents" not in sys.modules
