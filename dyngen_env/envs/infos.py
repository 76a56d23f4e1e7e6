"""The infos of episodes that have ended: why they ended, what was written, what each part of the reward paid. Infos of
episodes that begin or end also tell which task is played, if there are several, and who the user is, if they come back.

As arrays they are laid out as Gymnasium's own vector envs lay out theirs: under each key an array of B values, and
beside it under `_key` which rows have one. As tensors they have the same keys, and what must be decoded for them is
decoded when somebody reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from dyngen_env.mdp.state import FINISH_REASONS, ILLEGAL
from dyngen_env.text.media import Medium
from dyngen_env.types import Dialogue, Example

About = tuple[Example, Dialogue | None]  # an episode: what it is about, and what has been said if somebody answers


class LazySequence(Sequence[Any]):
    """A sequence whose items are made when one of them is first read, all at once.

    Args:
        count: how many items there will be.
        make: makes them.
    """

    def __init__(self, count: int, make: Callable[[], Any]):
        self._count, self._make = count, make

    @cached_property
    def _items(self) -> Any:
        return self._make()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):  # an int, or a slice
        return self._items[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"LazySequence({list(self)!r})"


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What there is to tell of E episodes that ended in one step of B rows. K is the number of reward terms."""

    rows: np.ndarray  # (E,) which rows
    ended: np.ndarray  # (B,) bool, True exactly at `rows`
    finish: torch.Tensor  # (B,) int64, index into FINISH_REASONS
    texts: Sequence[str]  # (E,) the last completions
    dialogues: Sequence[Dialogue | None]  # (E,), or empty where nobody answers
    paid: torch.Tensor  # (B, K) float64, what each term has paid in the episode
    names: Sequence[str]  # (K,) of the terms
    implied: str | None  # the term for illegal tokens if only the env asked for it: told of rows that chose one
    media: Sequence[tuple[Medium, ...]] = ()  # (E,) what was shown; empty in an env without media
    belongs: np.ndarray | None = None  # (B, K) bool, whether a term is one of the row's task; None: all are, everywhere

    def finish_reasons(self) -> np.ndarray:
        """(B,) str, why episodes ended; None in rows that go on."""
        finish = self.finish.numpy(force=True)
        return self._spread([FINISH_REASONS[why] for why in finish[self.rows].tolist()])

    def last_texts(self) -> np.ndarray:
        """(B,) str, the last completions; None in rows that go on."""
        return self._spread(self.texts)

    def transcripts(self) -> np.ndarray:
        """(B,) the dialogues as `transcript` gives them; None in rows that go on and where nobody answers."""
        return self._spread([d and transcript(d) for d in self.dialogues])

    def talked(self) -> np.ndarray:
        """(B,) bool, where there is a transcript."""
        talked = np.zeros(len(self.ended), dtype=bool)
        if len(self.dialogues):
            talked[self.rows] = [d is not None for d in self.dialogues]
        return talked

    def shown(self) -> dict[str, np.ndarray]:
        """`media`: what was shown in the episodes, a tuple each. Empty where the env has no media."""
        return {"media": self._spread(self.media), "_media": self.ended.copy()} if len(self.media) else {}

    def _spread(self, values: Sequence[Any]) -> np.ndarray:
        out = np.full(len(self.ended), None, dtype=object)
        for row, value in zip(self.rows.tolist(), values, strict=True):
            out[row] = value
        return out


def array_infos(ends: Ends) -> dict[str, Any]:
    """Infos as arrays, as Gymnasium's vector envs collect those of single envs. A key that no row has is left out."""
    paid, illegal = ends.paid.numpy(force=True), ends.finish.numpy(force=True) == ILLEGAL
    terms: dict[str, np.ndarray] = {}
    for k, (name, amount) in enumerate(zip(ends.names, paid.T, strict=True)):
        mask = ends.ended & illegal if name == ends.implied else ends.ended
        _put(terms, name, mask if ends.belongs is None else mask & ends.belongs[:, k], amount)
    infos: dict[str, Any] = {}
    infos |= {"finish_reason": ends.finish_reasons(), "_finish_reason": ends.ended.copy()}
    infos |= {"text": ends.last_texts(), "_text": ends.ended.copy()}
    infos |= {"reward_terms": terms, "_reward_terms": ends.ended.copy()}
    if ends.talked().any():
        infos |= {"dialogue": ends.transcripts(), "_dialogue": ends.talked()}
    return infos | ends.shown()


def _put(terms: dict[str, np.ndarray], name: str, mask: np.ndarray, amount: np.ndarray) -> None:
    if mask.any():
        terms |= {name: np.where(mask, amount, 0.0), f"_{name}": mask.copy()}


def tensor_infos(ends: Ends) -> dict[str, Any]:
    """Infos as tensors, and as sequences that are decoded when they are read. Every term is there, whoever ended."""
    ended = torch.from_numpy(ends.ended.copy()).to(ends.paid.device)
    paid = torch.where(ended.unsqueeze(1), ends.paid, 0.0)
    infos = lazy_infos(ended, paid, ended & (ends.finish == ILLEGAL), ends.names, ends.implied, lambda: ends)
    if ends.belongs is not None:
        masks = torch.from_numpy(ends.belongs).to(ended.device) & ended.unsqueeze(1)
        infos["reward_terms"] |= {f"_{name}": masks[:, k] for k, name in enumerate(ends.names)}
    if any(ends.dialogues):
        talked = torch.from_numpy(ends.talked()).to(ended.device)
        infos |= {"dialogue": LazySequence(len(ended), ends.transcripts), "_dialogue": talked}
    return infos | ends.shown()


def lazy_infos(
    ended: torch.Tensor,
    paid: torch.Tensor,
    illegal: torch.Tensor,
    names: Sequence[str],
    implied: str | None,
    ends: Callable[[], Ends],
) -> dict[str, Any]:
    """Infos of which nothing is read on the host before somebody asks.

    Args:
        ended: (B,) bool, where an episode ended. paid: (B, K) float64, what its terms have paid, 0 elsewhere.
        illegal: (B,) bool, where it ended by an illegal token.
        names: (K,) of the terms. implied: as in `Ends`.
        ends: tells the rest when it is called.
    """
    terms = {name: paid[:, k] for k, name in enumerate(names)}
    masks = {f"_{name}": illegal if name == implied else ended for name in names}
    return {
        "finish_reason": LazySequence(len(ended), lambda: ends().finish_reasons()),
        "_finish_reason": ended,
        "text": LazySequence(len(ended), lambda: ends().last_texts()),
        "_text": ended,
        "reward_terms": terms | masks,
        "_reward_terms": ended,
    }


def about_infos(about: Mapping[int, About], rows: int) -> dict[str, Any]:
    """Whose episodes are played, and with whom, by row: those that begin or have ended.

    Returns:
        `task`, (rows,) of str, if the env plays several; and `person` and `visit`, (rows,) int64 each, who the users
        are that come back, and which of their episodes this is, if there are such users. Else it is empty.
    """
    tasks = {row: example.task for row, (example, _) in about.items() if example.task is not None}
    back = [(row, talk.person, talk.visit) for row, (_, talk) in about.items() if talk and talk.person is not None]
    infos: dict[str, Any] = {}
    if tasks:
        told, task = np.zeros(rows, dtype=bool), np.full(rows, None, dtype=object)
        told[list(tasks)], task[list(tasks)] = True, list(tasks.values())
        infos |= {"task": task, "_task": told}
    if back:
        told, person, visit = np.zeros(rows, dtype=bool), *np.zeros((2, rows), dtype=np.int64)
        where, persons, visits = map(list, zip(*back, strict=True))
        told[where], person[where], visit[where] = True, persons, visits
        infos |= {"person": person, "_person": told, "visit": visit, "_visit": told.copy()}
    return infos


def info_of_row(infos: dict[str, Any], row: int) -> dict[str, Any]:
    """The infos of one row of a vector env, as a single env returns them: plain numbers and copies of arrays.

    A row has the key `k` if the mask `_k` says so, or if there is no such mask.
    """
    out: dict[str, Any] = {}
    for key, value in infos.items():
        if not key.startswith("_") and (f"_{key}" not in infos or infos[f"_{key}"][row]):
            out[key] = info_of_row(value, row) if isinstance(value, dict) else _plain(value[row])
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return value.item() if isinstance(value, np.generic | torch.Tensor) and value.ndim == 0 else value


def transcript(dialogue: Dialogue) -> list[dict[str, Any]]:
    """A dialogue as a list of turns, `{"role": "user" or "agent", "text": ...}`; answers have their `rating`, too, and
    those that sent a draft back `"revise": True`.
    """
    turns: list[dict[str, Any]] = [{"role": "user", "text": dialogue.example.prompt}]
    for i, completion in enumerate(dialogue.completions):
        turns.append({"role": "agent", "text": completion})
        if i < len(dialogue.feedback):
            answer = dialogue.feedback[i]
            turns.append({"role": "user", "text": answer.text, "rating": answer.rating})
            if answer.revise:
                turns[-1]["revise"] = True
    return turns
