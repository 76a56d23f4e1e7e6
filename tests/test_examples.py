"""Every example runs, if what it imports is installed. Briefly: how agents learn, benchmarks/sb3_learning.py shows."""

from __future__ import annotations

import ast
import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
BRIEFLY = {
    "01_gym_make.py": ["--steps", "128"],
    "02_gym_make_vec.py": ["--steps", "60"],  # of 64 rows
    "03_custom_reward.py": ["--steps", "60"],
    "05_sb3_dqn_top_k.py": ["--steps", "128"],  # as many texts are played at the end
    "06_cleanrl_ppo.py": ["--total-timesteps", "256", "--num-steps", "16", "--num-envs", "4"],
    "09_trl_grpo.py": ["--steps", "2"],  # updates, not tokens
    "10_multi_process.py": ["--updates", "1"],
    "11_adversarial.py": ["--updates", "2", "--episodes", "8"],
    "18_pictures.py": ["--steps", "64"],
}


def imports(path: Path) -> set[str]:
    """The packages that a script imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_runs(path, monkeypatch, tmp_path, capsys):
    missing = [name for name in imports(path) if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [path.name, *BRIEFLY.get(path.name, ["--steps", "512"])])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_is_short_and_says_what_it_shows_and_how_long_it_takes(path):
    text = path.read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    assert f"python examples/{path.name}" in docstring and ("second" in docstring or "minute" in docstring)
    assert text.count("\n") <= 60 or path.name == "06_cleanrl_ppo.py"  # CleanRL's style: one file
