"""What each row of an env remembers between two steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from dyngen_env import mdp
from dyngen_env.envs.episode_source import Drawn, objects
from dyngen_env.envs.infos import About
from dyngen_env.envs.seeding import EpisodeSeeds
from dyngen_env.mdp.state import TokenState
from dyngen_env.types import Dialogue, Example


@dataclass(frozen=True)
class Episodes:
    """What R rows are about to play."""

    seeds: np.ndarray  # (R,) uint64, of the episodes
    drawn: Drawn
    dialogues: Sequence[Dialogue | None]  # (R,)

    def about(self) -> list[About]:
        """(R,) what there is to tell of them as they begin."""
        return list(zip(self.drawn.examples, self.dialogues, strict=True))


@dataclass(frozen=True)
class RowState:
    """All that B rows remember, K being the number of reward terms. Nothing in it is ever written to.

    A step makes a new RowState and the env takes it at the very end, so that a step that fails changes nothing.
    """

    state: TokenState
    seeds: EpisodeSeeds  # of the episodes to come
    episode_seeds: np.ndarray  # (B,) uint64, of the episodes that are played
    examples: np.ndarray  # (B,) of Example
    dialogues: np.ndarray  # (B,) of Dialogue, or None where nobody answers
    ended: np.ndarray  # (B,) bool, rows that await their reset
    numbers: np.ndarray  # (B,) int64, by which rows are told apart: the last seed, or the place where there was none
    steps: np.ndarray  # (B,) int64, taken in the episode
    paid: torch.Tensor  # (B, K) float64, what each term has paid in the episode
    owed: torch.Tensor  # (B, K) float64, what it has earned in the episode and not paid yet

    @staticmethod
    def before_reset(seeds: EpisodeSeeds, tokens: torch.Tensor, owed: torch.Tensor) -> RowState:
        """Rows that have played nothing: empty tokens (B, L), nothing owed (B, K)."""
        rows = len(tokens)
        return RowState(
            state=mdp.initial(tokens, torch.zeros_like(tokens[:, 0])),
            seeds=seeds,
            episode_seeds=np.zeros(rows, dtype=np.uint64),
            examples=objects([Example("")] * rows),
            dialogues=objects([None] * rows),
            ended=np.zeros(rows, dtype=bool),
            numbers=np.arange(rows),
            steps=np.zeros(rows, dtype=np.int64),
            paid=owed,
            owed=owed,
        )

    def wrote(self, state: TokenState) -> RowState:
        """Every row has written a token, and nothing else has happened."""
        return replace(self, state=state, steps=self.steps + 1)

    def reset(self, rows: np.ndarray, episodes: Episodes) -> RowState:
        """Rows (R,) begin these episodes, for which they have used a seed each; other rows stay.

        Call it once nothing can fail any more (see `EpisodeSeeds.after`).
        """
        where = torch.from_numpy(rows).to(self.paid.device)
        prompts = episodes.drawn.tokens, episodes.drawn.lengths, episodes.drawn.budgets
        every_row = len(rows) == len(self.ended)
        return replace(
            self,
            state=mdp.initial(*prompts) if every_row else mdp.restart(self.state, where, *prompts),
            seeds=self.seeds.after(rows),
            episode_seeds=written(self.episode_seeds, rows, episodes.seeds),
            examples=written(self.examples, rows, objects(episodes.drawn.examples)),
            dialogues=with_dialogues(self.dialogues, rows, episodes.dialogues),
            ended=written(self.ended, rows, False),
            steps=written(self.steps, rows, 0),
            paid=self.paid.index_fill(0, where, 0.0),
            owed=self.owed.index_fill(0, where, 0.0),
        )

    def reseeded(self, rows: Sequence[int], seeds: EpisodeSeeds, numbers: Sequence[int | None]) -> RowState:
        """Rows (R,) draw their future episodes from these seeds, and the next user is somebody new.

        Args:
            numbers: (R,) what the rows' generators were seeded with; None leaves a row's number as it is.
        """
        talks = written(self.dialogues, np.array(rows), None)
        known = zip(self.numbers[list(rows)].tolist(), numbers, strict=True)
        told = [old if new is None else new % 2**62 for old, new in known]
        numbered = written(self.numbers, np.array(rows, dtype=np.int64), told)
        return replace(self, seeds=self.seeds.put(rows, seeds), dialogues=talks, numbers=numbered)

    def branched(self, seeds: Sequence[int | None]) -> RowState:
        """Rows go on with other chances: their users' in the episode that is played, and their future episodes'."""
        now = np.array([s % 2**64 for s in seeds if s is not None], dtype=np.uint64)
        return replace(self, seeds=EpisodeSeeds.fresh(seeds), episode_seeds=now)

    def take(self, rows: Sequence[int]) -> RowState:
        """A new batch of copies of rows (R,), any of them several times: random states and personas are copied, too."""
        return RowState(*(_taken(getattr(self, field.name), list(rows)) for field in fields(self)))


def rows_to_reset(options: Mapping[str, Any], rows: int) -> np.ndarray:
    """(R,) int64: which of `rows` rows the reset options mean: those of `reset_mask`, or all.

    Raises:
        ValueError: an unknown option, or a mask that is not bool of shape (rows,) with a True in it.
    """
    unknown = set(options) - {"prompt", "example", "reset_mask"}
    if unknown:
        raise ValueError(f"unknown reset option {unknown.pop()!r}: expected prompt, example or reset_mask")
    mask = options.get("reset_mask")
    if mask is None:
        return np.arange(rows)
    mask = mask.numpy(force=True) if isinstance(mask, torch.Tensor) else np.asarray(mask)
    if mask.shape != (rows,) or mask.dtype != bool or not mask.any():
        raise ValueError(
            f"reset_mask must be bool of shape ({rows},) with at least one True, got {mask.dtype} of shape "
            f"{mask.shape} with {int(np.count_nonzero(mask))} set"
        )
    return np.flatnonzero(mask)


def written(array: np.ndarray, rows: np.ndarray, values: Any) -> np.ndarray:
    """A copy of array (B, ...) with values in rows (R,)."""
    array = array.copy()
    array[rows] = values
    return array


def with_dialogues(dialogues: np.ndarray, rows: np.ndarray, others: Sequence[Dialogue | None]) -> np.ndarray:
    """A copy of dialogues (B,) with others (R,) in rows (R,); where nobody answers, the same, as there are none."""
    return written(dialogues, rows, objects(others)) if any(others) or any(dialogues[rows]) else dialogues


def _taken(value: Any, rows: list[int]) -> Any:
    """Copies of rows of a field."""
    if isinstance(value, TokenState):
        return mdp.fork(value, torch.as_tensor(rows, device=value.tokens.device))
    if isinstance(value, EpisodeSeeds):
        return value.take(rows)
    if isinstance(value, np.ndarray) and value.dtype == object:
        # Personas belong to their users, who may have put anything into them; examples are frozen.
        return objects([copy.deepcopy(v) if isinstance(v, Dialogue) else v for v in value[rows]])
    return value[rows]
