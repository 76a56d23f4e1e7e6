"""The commands by name. To add one, write a file with a `Command` (see `cli.options`) and a line here."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

import dyngen_agents

# Name: where its class is, which is imported only when the command is asked for; a line of help.
COMMANDS = {
    "train": ("dyngen_agents.cli.train:Train", "Train a language model in an environment, or go on with a run."),
    "eval": ("dyngen_agents.cli.evaluate:Eval", "Compare a run's model with the untrained one."),
    "frontier": (
        "dyngen_agents.cli.frontier:Frontier",
        "Compare runs as reward over KL, beside the untrained model's best of n.",
    ),
    "inspect": (
        "dyngen_agents.cli.inspect:Inspect",
        "Why did it write that? A page on which tokens tell their numbers.",
    ),
    "generate": ("dyngen_agents.cli.generate:Generate", "Let a run's model complete prompts."),
    "serve": ("dyngen_agents.cli.serve:Serve", "A page to talk with a model, and to rate and correct what it says."),
    "record": ("dyngen_agents.cli.record:Record", "Let a policy play, and keep its episodes to learn from."),
    "rescore": (
        "dyngen_agents.cli.rescore:Rescore",
        "What recorded episodes would have earned under other rewards.",
    ),
    "feedback": (
        "dyngen_agents.cli.feedback:Feedback",
        "What is in a store of people's feedback, and how far they agree.",
    ),
    "export": ("dyngen_agents.cli.export:Export", "People's feedback as a data set for TRL and others."),
    "import": ("dyngen_agents.cli.importing:Import", "Data sets of feedback into a store."),
    "bench": ("dyngen_agents.cli.bench:Bench", "Compare reward designs: train the same agent under each."),
}


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line and return the exit code (see `cli.main`)."""
    name = arguments[0] if arguments else None
    if name in ("-h", "--help"):
        print(overview())
        return 0
    if name == "--version":
        print(f"dyngen {dyngen_agents.__version__}")
        return 0
    if name not in COMMANDS:
        print(_no_command(name), file=sys.stderr)
        return 2
    module, kind = COMMANDS[name][0].split(":")
    from dyngen_agents.cli.execution import execute  # imports PyTorch: --help does without

    return execute(getattr(importlib.import_module(module), kind), arguments[1:], f"dyngen {name}")


def overview() -> str:
    """What `dyngen --help` prints."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: dyngen COMMAND [OPTIONS]",
            "",
            "Train a language model on feedback, see what it has learned, and let it write.",
            "",
            *lines,
            "",
            "dyngen COMMAND --help explains a command. dyngen --version tells which version this is.",
        ]
    )


def _no_command(name: str | None) -> str:
    if name is None:
        return overview()
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"dyngen: unknown command {name!r}: {hint}Expected one of {', '.join(COMMANDS)}; see dyngen --help"
