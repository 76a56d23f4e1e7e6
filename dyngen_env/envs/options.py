"""Every keyword of an environment: its type, its default, what it means, and whether a value can work.

The environments, the settings of training runs, the reward bench and the command take their keywords from here.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from gymnasium.vector import AutoresetMode

from dyngen_env.arguments import autoreset, one_of, positive
from dyngen_env.text.tokenizer import Tokenizer

Options = TypeVar("Options", bound="EnvOptions")

OF_EACH_TASK = ("prompts", "reward", "user", "max_turns", "max_new_tokens")  # where an env plays several


@dataclass(frozen=True)
class EnvDefault:
    """Beside a keyword's type: the environments' default, where None says that the keyword was not given."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What is asked of the agent, within which limits, and what is paid for it: what can be said on a command line.

    Each is None unless it was given; then the environment's own default holds. In Python `prompts`, `reward` and `user`
    take objects, too.

    Raises:
        ValueError: a value that cannot work; the message says what is possible. Names and expressions are read when
            the environment is built.
    """

    model: Annotated[str | None, EnvDefault(None)] = None
    """A language model: "reviews-lm", "dialogue-lm", "maze-lm", "walk-lm", "pictures-lm", "smollm2", a hub id, a
    folder, a run, a .gguf file. A run trains it; an env reads its tokenizer and its context window, and no weights
    unless a reward or a user asks for them."""
    prompts: Annotated[str | None, EnvDefault(None)] = None
    """A .txt or .jsonl file, of which runs hold out a tenth for evaluation, or a list that comes with the package:
    "maze", "pictures", "random_walk". Python also takes lists of texts, and `Task` objects."""
    reward: Annotated[str | None, EnvDefault("fluency")] = None
    """An expression, such as "sentiment + 0.1*fluency". Runs also read "mine.py:fn", and Python takes functions of the
    text and `Reward` objects."""
    user: Annotated[str | None, EnvDefault(None)] = None
    """Who answers the agent's turns: "silent", "simulated", "lm('smollm2')". Runs also read "mine.py:Terse", and Python
    takes `User` objects."""
    rating_tokens: Annotated[bool | None, EnvDefault(False)] = None
    """Whether the agent reads the user's rating before their words: one of the control tokens <|rating:-4|> to
    <|rating:+4|>, which the tokenizer must have."""
    words_in_context: Annotated[bool | None, EnvDefault(True)] = None
    """Whether the context holds the words that users say. False leaves them out, for agents that hear users in another
    way: by a memory, or by the sounds and pictures that an answer shows, which stand in the context in either case."""
    max_turns: Annotated[int | None, EnvDefault(1)] = None
    """Turns of the agent in an episode, at most. Matters only if a user answers."""
    max_new_tokens: Annotated[int | None, EnvDefault(32)] = None
    """The length of a completion, at most, in tokens. In a dialogue that is one turn of the agent."""
    max_context_tokens: Annotated[int | None, EnvDefault(128)] = None
    """The length of prompt, completions and answers together, at most, in tokens."""
    context_overflow: Annotated[Literal["end", "drop_oldest"] | None, EnvDefault("end")] = None
    """What a dialogue does that has filled the context: "end", or "drop_oldest", which forgets its oldest turns, but
    never what came before the first. A step's info then has `segment`, the tokens as they were."""
    drafts: Annotated[Literal["visible", "hidden"] | None, EnvDefault("visible")] = None
    """Whether the agent still sees a turn that the user has sent back to have it written anew: "visible" leaves it in
    the context like any turn, "hidden" takes it out, and only what the user said of it stays. A step's info then has
    `segment`, the tokens as they were."""
    prompt_overflow: Annotated[Literal["error", "truncate_left"] | None, EnvDefault("error")] = None
    """What becomes of prompts that leave no room for a completion: an "error" lists them, "truncate_left" drops their
    beginning."""
    stop: Annotated[tuple[str, ...] | None, EnvDefault(())] = None
    """Strings that end a turn when they appear in it."""
    banned: Annotated[tuple[str, ...] | None, EnvDefault(())] = None
    """Words that are not legal to write, or one .txt file with one a line."""
    tasks: Annotated[str | None, EnvDefault(None)] = None
    """Registered ids that the rows play, with weights: "2*dyngen/Sentiment-v0 + dyngen/Dialogue-v0"; Python also takes
    a dict. Prompts, users, rewards and the limits of turns are then the ids' own."""
    task_choice: Annotated[Literal["weights", "rows"] | None, EnvDefault("weights")] = None
    """Which of several tasks an episode plays: "weights" draws it anew for each, "rows" gives each row one for good, by
    the row's seed, or its number if it was never seeded."""
    task_tokens: Annotated[bool | None, EnvDefault(False)] = None
    """Whether a control token at the beginning of the context says which of several tasks is played. Else only the
    prompt tells."""
    task_scales: Annotated[tuple[float, ...] | None, EnvDefault(None)] = None
    """What the rewards of several tasks are divided by, in their order, so that they weigh alike. By default figures
    that are known of our ids: the standard deviation of an untrained agent's return; 1 for others."""

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            keywords_of(TaskOptions)[name].check(name, value)

    def given(self) -> dict[str, Any]:
        """The keywords of the task that were given, by name."""
        values = {name: getattr(self, name) for name in keywords_of(TaskOptions)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class EnvOptions(TaskOptions):
    """The keywords of `TextGenEnv`. Here every one has a value: make it with `options_from`. Where `tasks` are given,
    those that each of them has for itself (`OF_EACH_TASK`) are None."""

    tokenizer: str | Tokenizer | None = None
    """Instead of a model: a name as for `model`, "bytes", or an object like `dyngen_env.text.tokenizer.Tokenizer`."""
    split: str | None = None
    """Part of the prompts: "train", "tune" or "eval"; None is all."""
    observation: str = "tokens"
    """What the agent is shown: "tokens", "dict" for language models, or "text". Where pictures or sounds are shown, a
    control token stands for each of their places, and "dict" has them as arrays, `pictures` and `sounds`."""
    output: Literal["numpy", "torch"] = "numpy"
    """What a step returns: "numpy" arrays, or "torch" tensors on `device`, which are the env's own state: do not write
    to them. In places of pictures and sounds they hold the numbers that name them (`text.media.tokens`)."""
    device: str = "cpu"
    """Where the state lives and models run."""
    render_mode: Literal["ansi", "human", "rgb_array"] | None = None
    """How `render` shows an episode: "ansi" as text, "human" on the terminal, "rgb_array" as a picture; or None."""
    length_limit: Literal["terminate", "truncate"] = "terminate"
    """How an episode ends whose completion has used up `max_new_tokens`: "terminate" says `terminated`, "truncate" says
    `truncated` as well, as of a full context. The turn is paid in either case, so nothing follows it and nobody should
    bootstrap past it."""
    max_episode_steps: int | None = None
    """How many tokens of its own choice an agent may write in an episode, counted and cut as Gymnasium's `TimeLimit`
    does: a turn that is cut is not paid, and its episode is `truncated` but not `terminated`, so that agents may
    bootstrap from its last state. None or -1 is no limit."""

    def __post_init__(self) -> None:
        if self.max_episode_steps == -1:  # what `gym.make` takes for no limit
            object.__setattr__(self, "max_episode_steps", None)
        for name, keyword in keywords_of(type(self)).items():
            value = getattr(self, name)
            if value is None and keyword.default is not None and not (self.tasks and name in OF_EACH_TASK):
                raise ValueError(f"{name} is None: leave it out for the default, {keyword.default!r}")
            if value is not None:
                keyword.check(name, value)


@dataclass(frozen=True, kw_only=True)
class VectorEnvOptions(EnvOptions):
    """The keywords of `TextGenVectorEnv`, made with `options_from`."""

    num_envs: int = 1
    """How many rows are stepped as one batch."""
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP
    """When rows that have ended are reset: one of Gymnasium's three modes, as the enum or its name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "autoreset_mode", autoreset(self.autoreset_mode))
        super().__post_init__()


class Keyword(NamedTuple):
    """What is known of a keyword."""

    kind: Any  # its type, without None
    default: Any  # of the environments

    def check(self, name: str, value: Any) -> None:
        """Raises ValueError if the type says that the value cannot work."""
        if get_origin(self.kind) is Literal:
            one_of(name, value, (*([None] if self.default is None else []), *get_args(self.kind)))
        elif self.kind is bool:
            one_of(name, value, (True, False))
        elif self.kind is int:
            positive(name, value)


def keywords_of(kind: type) -> dict[str, Keyword]:
    """The keywords of an options class, by name."""
    return _keywords_of(kind)


@cache
def _keywords_of(kind: Any) -> dict[str, Keyword]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: _keyword(hints[field.name], field.default) for field in fields(kind)}


def _keyword(annotation: Any, default: Any) -> Keyword:
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        default = next(note.value for note in notes if isinstance(note, EnvDefault))
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        annotation = kinds[0] if len(kinds) == 1 else annotation
    return Keyword(annotation, default)


def options_from(kind: type[Options], owner: type, given: dict[str, Any]) -> Options:
    """The options of an environment of class `owner`: what was given, and the defaults of the rest.

    Raises:
        TypeError: an unknown keyword. The words are Python's own, because libraries that probe an environment look for
            them (TorchRL's `frameskip=`); the known ones are named.
        ValueError: a value that cannot work.
    """
    known = keywords_of(kind)
    defaults = {name: keyword.default for name, keyword in known.items()}
    if given.get("tasks"):
        defaults |= dict.fromkeys(OF_EACH_TASK)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise TypeError(
                f"{owner.__qualname__}.__init__() got an unexpected keyword argument {name!r}"
                f"{f': did you mean {near[0]!r}?' if near else ':'} the known ones are {', '.join(known)}"
            )
    return kind(**defaults | given)
