"""Rewards and users that settings name by file or module."""

import sys
from pathlib import Path

import pytest

from dyngen_agents.cli.main import main
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.imported import imported, is_imported, with_absolute_path
from dyngen_agents.training.metrics_log import read_metrics

MINE = """
from __future__ import annotations
from dataclasses import dataclass

import neighbour
from dyngen_env.types import Feedback

def vowels(text):
    return neighbour.count(text)

def wrong(text, sentence):
    return 0.0

@dataclass
class Terse:
    words: int = 3
    answers = True

    def begin(self, examples, rngs):
        return [None] * len(examples)

    def reply(self, dialogues, rngs):
        return [Feedback("shorter, please", -1.0) for d in dialogues]

class Choosy:
    def __init__(self, taste):
        pass

patient = Terse(words=9)
number = [1, 2]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """A folder `project` with mine.py, the module neighbour.py that it imports, and broken.py; we stand beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    (folder / "neighbour.py").write_text("def count(text):\n    return float(sum(text.count(v) for v in 'aeiou'))\n")
    (folder / "broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    # Without the folders of other tests that had a mine.py.
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not Path(place, "mine.py").exists()])
    for name in ("neighbour", "dyngen_imported_mine", "mine"):  # other tests may have modules of these names
        monkeypatch.setitem(sys.modules, name, sys)  # so that what is there now comes back
        del sys.modules[name]
    yield folder / "mine.py"
    for name in ("neighbour", "dyngen_imported_mine", "mine"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "text, answer",
    [
        ("mine.py:Terse", True),
        ("../my code/mine.py:fn", True),
        ("C:\\code\\mine.py:fn", True),
        ("package.module:name", True),
        ("sentiment", False),
        ("sentiment + 0.1*fluency", False),
        ("judge('http://localhost:80', rubric='a: b')", False),
        ("lm('smollm2')", False),
        ("keywords(':a')", False),
        (None, False),
    ],
)
def test_what_names_an_object(text, answer):
    assert is_imported(text) is answer


def test_functions_instances_and_classes(mine):
    assert imported(f"{mine}:vowels")("a film") == 2
    assert imported(f"{mine}:Terse").words == 3
    assert imported(f"{mine}:patient").words == 9


def test_a_module_in_the_working_directory(mine, monkeypatch):
    monkeypatch.chdir(mine.parent)
    assert imported("mine:vowels")("e") == 1
    assert imported("dyngen_env.users:Silent").answers is False


def test_a_file_is_executed_once_and_again_when_it_has_changed(mine):
    assert imported(f"{mine}:patient") is imported(f"{mine}:patient")
    mine.write_text("patient = 'changed'")
    assert imported(f"{mine}:patient") == "changed"


def test_names_that_stay_valid_elsewhere(mine, monkeypatch):
    monkeypatch.chdir(mine.parent)
    assert with_absolute_path("mine.py:Terse") == f"{mine}:Terse"
    assert with_absolute_path("mine:Terse") == "mine:Terse"


@pytest.mark.parametrize(
    "option, name, message",
    [
        ("--user", "nonesuch.py:Terse", "nonesuch.py\n"),
        ("--user", "no.such.module:Terse", "no.such.module cannot be imported (ModuleNotFoundError: No module named"),
        ("--user", "project/broken.py:x", "broken.py cannot be imported (ZeroDivisionError: division by zero)"),
        ("--user", "project/mine.py:Tersee", "mine.py has no 'Tersee', did you mean 'Terse'?"),
        ("--user", "project/mine.py:Choosy", "A class is made without arguments: if it wants some, name an object"),
        ("--user", "project/mine.py:vowels", "has no answers, begin, reply"),
        ("--reward", "project/mine.py:number", "mine.py:number': "),
        ("--reward", "project/mine.py:wrong", "sentence"),
    ],
)
def test_what_is_wrong_is_one_message_and_leaves_nothing(mine, option, name, message, capsys):
    assert main(["train", "ppo", option, name]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("runs").exists()


def test_a_run_finds_them_again_from_elsewhere(tiny_config, mine, tmp_path, monkeypatch):
    config = tiny_config()
    options = ["--model", config.model, "--prompts", config.prompts, "--max-new-tokens", "6", "--episodes", "8"]
    own = ["--reward", "project/mine.py:vowels", "--user", "project/mine.py:Terse"]
    short = ["--updates", "1", "--max-turns", "2", "--max-context-tokens", "120", "--eval-episodes", "0"]
    assert main(["train", "ppo", *options, *own, *short, "--out", "run"]) == 0
    run = str(tmp_path / "run")
    saved = open_checkpoint(Path(run)).record["train"]
    assert (saved["reward"], saved["user"]) == (f"{mine}:vowels", f"{mine}:Terse")
    assert "vowels" in read_metrics(Path(run))[0]["reward_terms"]
    assert main(["train", "--resume", "run", *own, "--eval-episodes", "0"]) == 0  # the same, said in another way
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["eval", run, "--episodes", "4"]) == 0
    assert main(["inspect", run, "--episodes", "1"]) == 0
    assert "shorter, please" in (Path(run) / "inspection.html").read_text()
    assert main(["generate", run, "--prompt", "A"]) == 0
