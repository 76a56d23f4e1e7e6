"""From dataclasses of settings to options on the command line, and back.

A command is a dataclass. Its fields are options, and the fields of dataclasses within it are, too, by their own names.
`--help` shows those that a command calls common, `--help-all` shows all.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import DisallowNone, FlagConversionOff, FlagCreatePairsOff, OmitArgPrefixes, Suppress, arg

from dyngen_env.envs.keywords import field_docs
from dyngen_env.envs.options import EnvDefault

HELP_ALL, TRACEBACK = "--help-all", "--traceback"

# What people type who know other tools.
SYNONYMS = {
    "--batch-size": "--minibatch-size",
    "--beam": "--num-beams",
    "--cuda": "--device",
    "--gpu": "--device",
    "--iterations": "--updates",
    "--kl": "--kl-coef",
    "--lr": "--learning-rate",
    "--max-length": "--max-new-tokens",
    "--name": "--out",
    "--num-updates": "--updates",
    "--output": "--out",
    "--output-dir": "--out",
    "--rank": "--lora-rank",
    "--steps": "--updates",
    "--time": "--max-minutes",
}

Kind = TypeVar("Kind")


class WrongOption(ValueError):
    """An option that the command does not have."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of `dyngen`: a dataclass of its options. The docstrings of class and fields are its help."""

    common: ClassVar[Collection[str] | None] = None
    """Fields that `--help` shows, in this order; None is all."""
    not_offered: ClassVar[Collection[str]] = ()
    """Fields of settings that are no options here."""

    json: bool = False
    """Print one JSON object to standard output, and all else to standard error."""
    quiet: bool = False
    """Say nothing but warnings, errors and the answer."""
    traceback: bool = False
    """Show where an error came from."""

    @classmethod
    def chosen(cls, arguments: Sequence[str]) -> tuple[type[Command], Sequence[str], str]:
        """The class that parses the arguments, those that are left to it, and what of them was a command's name."""
        return cls, arguments, ""

    def execute(self) -> int:
        """Carry it out and return the exit code."""
        raise NotImplementedError


@dataclass(frozen=True)
class Option:
    """One option: a field of a command, or of settings within it.

    Args:
        path: the names of the fields that lead to it.
    """

    path: tuple[str, ...]
    annotation: Any
    default: Any
    help: str

    @property
    def name(self) -> str:
        """The field's own name."""
        return self.path[-1]

    @property
    def flag(self) -> str:
        """As it is typed."""
        return "--" + self.name.replace("_", "-")


def parse(kind: type[Kind], arguments: Sequence[str], program: str) -> Kind:
    """A command from its arguments; prints help or tyro's message, and raises SystemExit, where there is reason to.

    Raises:
        WrongOption: one that there is not. ValueError: as the settings' own checks.
    """
    hidden, common = kind.not_offered, kind.common  # type: ignore[attr-defined]
    last = [each.name for each in fields(Command)]
    offered = [option for option in options_of(kind) if option.name not in hidden]
    order = list(common or ())
    offered.sort(key=lambda option: order.index(option.name) if option.name in order else len(order))
    offered.sort(key=lambda option: option.path[0] in last)
    groups: dict[str, list[Option]] = {"common": []}
    for option in offered:
        is_common = common is None or option.name in common
        groups.setdefault("common" if is_common else option.path[0], []).append(option)
    doc = inspect.cleandoc(kind.__doc__ or "")
    if len(groups) > 1 and HELP_ALL not in arguments:
        doc += f"\n\n{HELP_ALL} shows {len(offered) - len(groups['common'])} more options."
    only_common = not {"-h", "--help"}.isdisjoint(arguments)
    form = make_dataclass(
        "Form", [_group(name, options, only_common and name != "common") for name, options in groups.items()]
    )
    form.__doc__ = doc
    parsed: Any = tyro.cli(
        form,
        prog=program,
        args=["--help" if argument == HELP_ALL else argument for argument in arguments],
        return_unknown_args=True,
        config=(OmitArgPrefixes, FlagCreatePairsOff, DisallowNone),
    )
    answers, unknown = parsed
    if unknown:
        raise WrongOption(_unknown(unknown[0], [option.flag for option in offered], program))
    return build(
        kind,
        {
            option.path: getattr(getattr(answers, name), option.name)
            for name, options in groups.items()
            for option in options
        },
    )


def options_of(kind: type, defaults: Any = None, path: tuple[str, ...] = ()) -> Iterator[Option]:
    """Every option of a dataclass, those of dataclasses within it included, in the order of the fields.

    Args:
        defaults: an instance whose values are the defaults; None takes those of the class.
    """
    hints, helps = get_type_hints(kind, include_extras=True), field_docs(kind)
    for each in fields(kind):
        default = _default(each, defaults)
        if is_dataclass(default):
            yield from options_of(type(default), default, (*path, each.name))
        else:
            said = helps.get(each.name, "")
            if any(isinstance(note, EnvDefault) for note in getattr(hints[each.name], "__metadata__", ())):
                said += " By default the env's own."
            yield Option((*path, each.name), hints[each.name], default, said)


def build(kind: type[Kind], values: dict[tuple[str, ...], Any], defaults: Any = None) -> Kind:
    """The dataclass with these values by path; a field that has none keeps its default. The inverse of `options_of`."""
    arguments: dict[str, Any] = {}
    for each in fields(kind):  # type: ignore[arg-type]
        default = _default(each, defaults)
        if is_dataclass(default):
            within = {path[1:]: value for path, value in values.items() if path[0] == each.name}
            arguments[each.name] = build(type(default), within, default)
        else:
            arguments[each.name] = values.get((each.name,), default)
    return kind(**arguments)


def _default(each: Field, defaults: Any) -> Any:
    """The default of a dataclass's field, from an instance if there is one; MISSING where there is none."""
    if defaults is not None:
        return getattr(defaults, each.name)
    return each.default if each.default_factory is MISSING else each.default_factory()


def _group(name: str, options: list[Option], is_hidden: bool) -> tuple[str, Any, Any]:
    """A field for `make_dataclass`: options that tyro shows together, under the group's name, or not at all."""
    kind: Any = make_dataclass(name.capitalize(), [_tyro_field(option) for option in options], kw_only=True)
    kind.__doc__ = ""
    is_required = any(option.default is MISSING for option in options)
    if name == "common":
        marked: Any = Annotated[kind, arg(name="")]
    else:
        marked = Annotated[kind, Suppress] if is_hidden else kind
    return name, marked, field(kw_only=True) if is_required else field(default_factory=kind, kw_only=True)


def _tyro_field(option: Option) -> tuple[str, Any, Any]:
    """The field of `make_dataclass` that tyro makes the option of."""
    annotation, default = option.annotation, option.default
    inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    types = get_args(inner)
    metavar = None
    if set(types) == {bool, type(None)}:
        annotation = Annotated[annotation, FlagConversionOff]  # neither is a third answer
    if any(get_origin(each) is tuple for each in (inner, *types)):
        metavar = "TEXT [TEXT ...]"
    hint = "" if default in (None, False, ()) or default is MISSING else f"(default: {_shown(default)})"
    annotation = Annotated[annotation, arg(help=option.help, help_behavior_hint=hint, metavar=metavar)]
    return (option.name, annotation, field() if default is MISSING else field(default=default))


def _shown(value: Any) -> str:
    return "on" if value is True else str(value)


def _unknown(argument: str, flags: list[str], program: str) -> str:
    flag = argument.split("=")[0]
    if not flag.startswith("-"):
        return f"{argument!r} is one argument too many: see {program} --help"
    meant = SYNONYMS.get(flag)
    near = [meant] if meant in flags else difflib.get_close_matches(flag, flags, n=1)
    return f"unknown option {flag}: " + (f"did you mean {near[0]}? " if near else "") + f"See {program} {HELP_ALL}"
