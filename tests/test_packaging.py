"""What an installation brings: a wheel holds both packages with all their files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import dyngen_env

ROOT = Path(__file__).parents[1]
PACKAGES = {"dyngen_env": ROOT / "dyngen_env", "dyngen_agents": ROOT / "agents" / "dyngen_agents"}


def test_a_wheel_holds_every_file_of_both_packages_under_their_import_names(tmp_path):
    expected = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"{name}/py.typed" for name in PACKAGES} <= expected
    wheels = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling: pip install hatchling")
    [built] = wheels.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(built) as wheel:
        files = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert files == expected
        assert f"dyngen_env-{dyngen_env.__version__}.dist-info/METADATA" in wheel.namelist()
        [entry_points] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
        assert "dyngen = dyngen_agents.cli.main:main" in wheel.read(entry_points).decode()
