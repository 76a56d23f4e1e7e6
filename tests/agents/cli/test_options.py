"""Settings as options on the command line, and the way back."""

from dataclasses import dataclass, field

import pytest

from dyngen_agents.algorithms.registry import ALGORITHMS
from dyngen_agents.cli.bench import Bench
from dyngen_agents.cli.options import Command, WrongOption, build, field_docs, options_of, parse
from dyngen_agents.cli.train import Train
from dyngen_agents.reward_bench import RewardBench
from dyngen_agents.runs.config import TrainConfig


@dataclass(frozen=True)
class Inner:
    size: int = 3
    """How large."""
    secret: float = 0.5
    """Not for the command line."""


@dataclass(frozen=True, kw_only=True)
class Outer(Command):
    """Do something."""

    common = ("size", "name")
    not_offered = ("secret",)

    inner: Inner = field(default_factory=lambda: Inner(size=7, secret=0.25))
    name: str | None = None
    """What it is called, over
    two lines."""
    words: tuple[str, ...] | None = None
    """Some words."""
    loud: bool | None = None
    """Yes, no, or by default neither."""


@pytest.mark.parametrize("kind", [TrainConfig, RewardBench, *(kind.Config for kind in ALGORITHMS.values())])
def test_building_from_the_options_gives_the_settings_back(kind):
    assert build(kind, {option.path: option.default for option in options_of(kind)}) == kind()


@pytest.mark.parametrize("kind", [TrainConfig, RewardBench, *(kind.Config for kind in ALGORITHMS.values())])
def test_every_option_is_explained(kind):
    assert [option.name for option in options_of(kind) if not option.help] == []


def test_nothing_said_is_the_default_of_the_outermost_settings():
    """Whose own default may be other settings than the inner class's."""
    assert parse(Outer, [], "x") == Outer()
    assert parse(Outer, ["--name", "a"], "x").inner == Inner(7, 0.25)
    assert parse(Bench, ["rewards"], "x").bench == RewardBench()
    assert parse(Train.chosen([])[0], [], "x").training == TrainConfig()


def test_values_reach_their_places():
    given = parse(Outer, ["--size", "9", "--words", "a b", "c", "--loud", "False"], "x")
    assert (given.inner, given.words, given.loud) == (Inner(9, 0.25), ("a b", "c"), False)


def test_docs_of_fields():
    docs = field_docs(Outer)
    assert docs["name"] == "What it is called, over two lines."
    assert docs["traceback"] == "Show where an error came from."  # inherited


@pytest.mark.parametrize("arguments", [["--secret", "1"], ["--sise", "1"], ["stray"]])
def test_what_is_not_offered(arguments):
    with pytest.raises(WrongOption):
        parse(Outer, arguments, "x")


def test_a_flag_that_is_similar_is_named():
    with pytest.raises(WrongOption, match=r"unknown option --sise: did you mean --size\? See x --help-all"):
        parse(Outer, ["--sise=1"], "x")
