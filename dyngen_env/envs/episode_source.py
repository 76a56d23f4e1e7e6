"""Which example each episode plays, as prompt tokens: drawn by seed, or chosen through reset options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from dyngen_env.envs.media import ShownMedia
from dyngen_env.envs.seeding import stream_generator, stream_uniform
from dyngen_env.tasks import Prompts, Task, as_example
from dyngen_env.text.media.tokens import words_begin
from dyngen_env.text.padding import pad_rows
from dyngen_env.types import Example


class PromptLimit:
    """Turns prompts and their media into tokens, and sees to it that they leave room for a completion.

    Args:
        encode: makes the tokens of one prompt.
        room: how many tokens a prompt may have, its media included.
        truncate: whether longer prompts lose their beginning; if not they are an error. Media are kept whole.
        media: makes the tokens of media, which stand before the words.
    """

    def __init__(self, encode: Callable[[str], list[int]], *, room: int, truncate: bool, media: ShownMedia):
        self.encode, self.room, self.truncate, self.media = encode, room, truncate, media
        self._words_begin = words_begin(encode) if media.room else 0

    def __call__(self, examples: Sequence[Example]) -> Sequence[list[int]]:
        """The tokens of each example's prompt.

        Raises:
            ValueError: some prompts are too long; they are listed, with what can be done about it. Or media are shown
                for which there is no room.
        """
        prompts = [example.prompt for example in examples]
        ids = _encoded(self.encode, tuple(prompts))
        if any(example.media for example in examples):
            ids = [self._with_media(i, example) for i, example in zip(ids, examples, strict=True)]
        long = [(len(i), p) for p, i in zip(prompts, ids, strict=True) if len(i) > self.room]
        if long and self.truncate:
            return [i[-self.room :] for i in ids]
        if long:
            shown = "\n".join(f"  {n} tokens: {p[:80]!r}" for n, p in long[:5])
            more = f"\n  and {len(long) - 5} more" if len(long) > 5 else ""
            raise ValueError(
                f"{len(long)} of {len(prompts)} prompts are longer than max_context_tokens - max_new_tokens = "
                f"{self.room} tokens:\n{shown}{more}\nraise max_context_tokens, lower max_new_tokens, shorten the "
                'prompts, or pass prompt_overflow="truncate_left"'
            )
        return ids

    def _with_media(self, ids: list[int], example: Example) -> list[int]:
        whole = self.media.before_words(ids, self._words_begin, example.media)
        left = self.room - (len(whole) - len(ids))
        if self.truncate and 0 < left < len(ids):
            return self.media.before_words(ids[-left:], 0, example.media)
        return whole


@lru_cache(maxsize=64)  # the envs of a sync or async vector env share a tokenizer and the prompts
def _encoded(encode: Callable[[str], list[int]], prompts: tuple[str, ...]) -> Sequence[list[int]]:
    return [encode(prompt) for prompt in prompts]


@dataclass(frozen=True)
class Drawn:
    """What R rows are going to play."""

    examples: Any  # (R,) a sequence of Example, or an object array
    tokens: torch.Tensor  # (R, L) int64, the prompts, -1 where empty
    lengths: torch.Tensor  # (R,) int64, of the prompts in tokens
    budgets: torch.Tensor | None = None  # (R,) int64, how many tokens turns may have, where that is the example's


class EpisodeSource:
    """Where the examples of episodes come from, as tokens.

    Attributes:
        table: the tokens of all prompts (E, L) and their lengths (E,), where they are the list of one task; else None.
    """

    table: tuple[torch.Tensor, torch.Tensor] | None = None

    def draw(self, episode_seeds: np.ndarray, rows: np.ndarray | None = None) -> Drawn:
        """What episodes with these seeds (R,) uint64 play: equal seeds play equal examples.

        Args:
            rows: (R,) int64, the numbers by which rows are told apart (`RowState.numbers`), where each has a task of
                its own.
        """
        raise NotImplementedError

    def at(self, indices: np.ndarray) -> Drawn:
        """The examples with these indices (R,).

        Raises:
            ValueError: an index out of range, or a task whose examples cannot be listed.
        """
        raise NotImplementedError

    def of(self, examples: list[Example]) -> Drawn:
        """These examples (R,), wherever they come from. Raises ValueError if one cannot be played."""
        raise NotImplementedError

    def chosen(self, options: dict[str, Any], rows: int) -> Drawn | None:
        """What the reset options `prompt` or `example` choose for some rows; None where they choose nothing.

        Raises:
            ValueError: both are given, or something that is no prompt, no index, or not one for each row.
        """
        if "prompt" in options and "example" in options:
            raise ValueError("options have both prompt and example: give one of them")
        if "prompt" in options:
            return self.of([as_example(p) for p in _per_row("prompt", options["prompt"], rows, str | Example)])
        if "example" in options:
            return self.at(np.array(_per_row("example", options["example"], rows, int | np.integer), dtype=np.int64))
        return None


class ExampleSource(EpisodeSource):
    """The examples of a task, with their prompts as tokens on a device.

    Args:
        task: where the examples come from. If it is a list of prompts (`tasks.Prompts`), they are all encoded here,
            once, so that prompts that are too long are found at once.
        limit: makes tokens of prompts.
        context: L, how wide rows of tokens are.
        device: where the tokens lie.

    Raises:
        ValueError: prompts of a list are too long.
    """

    def __init__(self, task: Task, limit: PromptLimit, *, context: int, device: torch.device):
        self.task, self.limit, self.context, self.device = task, limit, context, device
        if isinstance(task, Prompts):
            self.table = self._pad(limit(task.examples))
            self._examples = objects(task.examples)

    def draw(self, episode_seeds: np.ndarray, rows: np.ndarray | None = None) -> Drawn:
        if self.table is not None:
            return self.at(self.task.pick(stream_uniform(episode_seeds, "task")))  # type: ignore[attr-defined]
        return self.of([self.task.sample(stream_generator(seed, "task")) for seed in episode_seeds])

    def at(self, indices: np.ndarray) -> Drawn:
        if self.table is None or not isinstance(self.task, Prompts):
            raise ValueError(f'{type(self.task).__name__} has no list of examples: use the option "prompt"')
        check_indices(indices, len(self.task.examples))
        where = torch.from_numpy(indices).to(self.device)
        tokens, lengths = (part.index_select(0, where) for part in self.table)
        return Drawn(self._examples[indices], tokens, lengths)

    def of(self, examples: list[Example]) -> Drawn:
        return Drawn(examples, *self._pad(self.limit(examples)))

    def _pad(self, ids: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        return pad_rows(ids, self.context).to(self.device), torch.tensor([len(i) for i in ids]).to(self.device)


def check_indices(indices: np.ndarray, count: int) -> None:
    """Raises ValueError unless all indices (R,) are those of one of `count` examples."""
    out = indices[(indices < 0) | (indices >= count)]
    if len(out):
        raise ValueError(f"example {out[0]} does not exist: expected 0 <= example < {count}")


def objects(values: Sequence[Any]) -> np.ndarray:
    """(R,) object array: many rows are read and written at once."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _per_row(name: str, value: Any, rows: int, kind: Any) -> list[Any]:
    if isinstance(value, kind):
        return [value] * rows
    values = value.tolist() if isinstance(value, np.ndarray | torch.Tensor) else value
    if not isinstance(values, list | tuple) or not all(isinstance(v, kind) for v in values):
        raise ValueError(f"options[{name!r}] is {value!r}: expected {kind}, or a list of such")
    if len(values) != rows:
        raise ValueError(
            f"options[{name!r}] has {len(values)} entries for {rows} rows being reset: give one, or one each"
        )
    return list(values)
