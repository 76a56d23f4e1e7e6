"""The layout of the repository: few rooms a folder, files of a readable size, one tree for code and tests."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "dyngen_env", ROOT / "agents" / "dyngen_agents")
CODE = sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != "__pycache__")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_has_at_most_18_entries_at_its_top(package):
    assert len(entries(package)) <= 18, [path.name for path in entries(package)]


def test_files_have_at_most_300_lines():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in CODE}
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_files_begin_with_what_they_are():
    assert [path for path in CODE if not path.read_text(encoding="utf-8").startswith('"""')] == []


@pytest.mark.parametrize("tests, package", [("dyngen_env", PACKAGES[0]), ("agents", PACKAGES[1])])
def test_the_folders_of_the_tests_are_folders_of_the_code(tests, package):
    folders = {path.relative_to(ROOT / "tests" / tests) for path in (ROOT / "tests" / tests).rglob("test_*.py")}
    missing = sorted(str(path.parent) for path in folders if not (package / path.parent).is_dir())
    assert not missing


def test_assets_hold_data_and_what_reads_it():
    assert {path.name for path in entries(ROOT / "dyngen_env" / "assets") if path.suffix == ".py"} == {
        "__init__.py",
        "pictures.py",
        "reviews.py",
    }
