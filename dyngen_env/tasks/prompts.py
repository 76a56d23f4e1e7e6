"""A finite list of prompts, played uniformly at random: from Python, from a file, or the embedded film reviews."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dyngen_env.assets.reviews import film_continuations
from dyngen_env.tasks.named import NAMED
from dyngen_env.tasks.task import Task
from dyngen_env.text.media.room import room_of
from dyngen_env.types import Example

SPLITS = ("train", "tune", "eval")


class Prompts:
    """A task that draws uniformly from a list of examples.

    As the list is known, an env tokenizes each prompt once, and draws for all rows of a batch at once.

    Args:
        examples: what is drawn.
        written: examples with what people wrote after their prompts as the reference, for who learns from human texts;
            None takes those of `examples` that have a reference. Apart from `examples`, so that rewards that compare
            with a reference are not given one that nobody asked to be matched.

    Attributes:
        media: room for what an example shows.

    Raises:
        ValueError: no examples, or pictures of several sizes.
    """

    def __init__(self, examples: Sequence[Example], written: Sequence[Example] | None = None):
        if not examples:
            raise ValueError("no prompts: expected at least one")
        self.examples = tuple(examples)
        self.media = room_of(example.media for example in self.examples)
        self.written = tuple([e for e in examples if e.reference is not None] if written is None else written)

    def pick(self, uniforms: np.ndarray) -> np.ndarray:
        """Which examples R uniform random numbers select: (R,) floats in [0, 1) to (R,) indices."""
        return (uniforms * len(self.examples)).astype(np.int64)

    def sample(self, rng: np.random.Generator) -> Example:
        return self.examples[int(self.pick(rng.random(1))[0])]


def read_prompts(source: str | Path | Sequence[str | Example] | None, split: str | None = None) -> Prompts:
    """The task of drawing from a list of prompts.

    Args:
        source: a list of texts or Examples; a `.txt` file with a prompt on each line; a `.jsonl` file with an object on
            each line, which has a `prompt`, may have a `reference`, and whose other fields become the Example's
            `facts`; the name of a list that comes with the package ("maze", "pictures", "random_walk"); or None for the
            beginnings of the film reviews that come with it.
        split: the part of the prompts to draw from: "train" (80%), "tune" (10%) or "eval" (10%), told apart by a hash
            of the text. None means "train" for the film reviews and the pictures, and everything for prompts of your
            own. The pictures are told apart by what they show. "maze" and "random_walk" are small worlds whole: every
            part has all of their prompts.

    Raises:
        ValueError: an unknown split, no prompts, or a line that cannot be read; the message names file and line.
        FileNotFoundError: no such file.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    if not isinstance(source, str | Path | Iterable | None):
        raise ValueError(
            f"prompts={source!r}: expected a list of texts, a path of a .txt or .jsonl file, "
            f"one of {', '.join(map(repr, NAMED))}, or a Task"
        )
    if isinstance(source, str) and source in NAMED:
        return Prompts(NAMED[source](split))
    if source is None:
        pairs = film_continuations(split or "train")
        return Prompts([Example(prompt) for prompt, _ in pairs], [Example(*pair) for pair in pairs])
    name = f"{source}" if isinstance(source, str | Path) else "the list of prompts"
    examples = _read_file(Path(source)) if isinstance(source, str | Path) else [as_example(p) for p in source]
    if not examples:
        raise ValueError(f"no prompts in {name}: expected at least one (one a line, or one JSON object a line)")
    kept = [e for e in examples if split is None or _split_of(e.prompt) == split]
    if not kept:
        raise ValueError(f"no prompt of {name} ({len(examples)} in all) falls into split {split!r}: leave split out")
    return Prompts(kept)


def can_be_held_out(source: str | Path | Sequence[str | Example] | None) -> bool:
    """Whether a list of prompts, as `read_prompts` takes it, is long enough to have some for training and others for
    evaluation."""
    try:
        return all(read_prompts(source, split) for split in ("train", "eval"))
    except ValueError:
        return False


def make_task(prompts: str | Path | Sequence[str | Example] | Task | None, split: str | None = None) -> Task:
    """The task that an env's `prompts=` means: a Task object itself, anything else by `read_prompts`.

    Raises:
        ValueError: as `read_prompts`; or `split` beside a Task object, which draws for itself.
        FileNotFoundError: as `read_prompts`.
    """
    if not hasattr(prompts, "sample"):
        return read_prompts(prompts, split)  # type: ignore[arg-type]
    if split is not None:
        raise ValueError(f"split={split!r} has no meaning for {type(prompts).__name__}, which draws for itself")
    return prompts  # type: ignore[return-value]


def _split_of(text: str) -> str:
    bucket = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10
    return "tune" if bucket == 8 else "eval" if bucket == 9 else "train"


def as_example(prompt: str | Example) -> Example:
    """An Example of a prompt; an Example stays as it is.

    Raises:
        ValueError: neither text nor an Example.
    """
    if isinstance(prompt, Example):
        return prompt
    if isinstance(prompt, str):
        return Example(prompt)
    raise ValueError(f"a prompt is a str or an Example, got {type(prompt).__name__}: {prompt!r}")


def _read_file(path: Path) -> list[Example]:
    if path.suffix not in (".txt", ".jsonl"):
        raise ValueError(
            f"prompts file {path} ends in {path.suffix or 'nothing'!r}: expected .txt or .jsonl, or one of "
            f"{', '.join(map(repr, NAMED))}. For prompts "
            f"themselves give a list, as in prompts=[{str(path)!r}]"
        )
    if path.is_dir():
        raise ValueError(f"prompts file {path} is a folder: expected a .txt or .jsonl file")
    if not path.is_file():
        raise FileNotFoundError(f"no prompts file {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"prompts file {path} is not UTF-8 text: {error}") from error
    # Not splitlines(): JSON strings may hold other line separators, such as U+2028.
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1)]
    if path.suffix == ".txt":
        return [Example(line) for _, line in lines if line]
    return [_parse(path, n, line) for n, line in lines if line]


def _parse(path: Path, number: int, line: str) -> Example:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
    if (
        not isinstance(record, dict)
        or not isinstance(record.get("prompt"), str)
        or not isinstance(record.get("reference"), str | None)
    ):
        raise ValueError(f'{path}, line {number}: expected {{"prompt": "...", "reference": "..."}}, got {line[:80]}')
    known = {"prompt", "reference"}
    facts = {k: v for k, v in record.items() if k not in known} or None
    return Example(record["prompt"], record.get("reference"), facts)
