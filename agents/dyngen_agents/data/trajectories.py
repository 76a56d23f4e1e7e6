"""What a rollout leaves behind: whole episodes as token rows, and the ways an update cuts them into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from dyngen_agents.data.segments import Read, Starts, read_apart
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.text.media import Medium


@dataclass(frozen=True)
class Trajectories:
    """N episodes of at most L tokens, aligned by token position.

    At a position p where `completion_mask` is True the agent chose `tokens[:, p]` after reading `tokens[:, :p]`:
    `logprobs` holds the behaviour policy's log-prob of that choice, `values` the V it saw before, `rewards` what the
    env paid for it. Elsewhere these are zero. A value is NaN where the actor made none.

    An episode whose context was cut stands in its row as several token rows, one behind the other (`data.segments`): at
    a position of the one that begins at b the agent has read `tokens[:, b:p]`.
    """

    tokens: Tensor  # (N, L) int64, right-padded with -1
    completion_mask: Tensor  # (N, L) bool
    logprobs: Tensor  # (N, L) float32, nats
    values: Tensor  # (N, L) float32
    rewards: Tensor  # (N, L) float32
    bootstrap: Tensor  # (N,) float32, V of the last state where the episode was cut off unpaid, else 0
    groups: Tensor  # (N,) int64, equal for episodes that began with the same example on purpose
    prompts: Sequence[str] = ()
    tasks: Sequence[str] = ()  # the id that each episode plays; empty where the env plays one
    texts: Sequence[str] = ()  # the last completion of each episode
    finish_reasons: Sequence[str] = ()
    stops: Sequence[bool] = ()  # whether the agent ended its last turn itself; in a dialogue no finish reason says so
    reward_terms: dict[str, Tensor] = field(default_factory=dict)  # by name: (N,) sums over the episode
    dialogues: Sequence[list[dict[str, Any]] | None] = ()  # as `info["dialogue"]` has them; None where nobody answers
    notes: dict[str, Tensor] = field(default_factory=dict)  # what the policy attended to beside each row, if anything
    waited: Sequence[int] = ()  # token-steps for which a row stood still in an episode, or after it for other rows
    media: Sequence[tuple[Medium, ...]] = ()  # what each episode has shown: its tokens name them, this keeps them alive
    starts: Sequence[Starts] = ()  # where the token rows of each episode begin; empty if no context could be cut

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: Tensor) -> Trajectories:
        """The episodes `rows` (R,) int64, in that order."""
        index = rows.tolist()
        return self._each(lambda tensor: tensor[rows], lambda items: [items[i] for i in index])

    def to(self, device: torch.device | str) -> Trajectories:
        """The same on another device."""
        return self._each(lambda tensor: tensor.to(device), lambda items: items)

    def _each(
        self, of_tensor: Callable[[Tensor], Tensor], of_items: Callable[[Sequence[Any]], Sequence[Any]]
    ) -> Trajectories:
        """Apply a function to every field: tensors, tensors by name, and sequences with an item for each episode."""
        changed: dict[str, Any] = {}
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if isinstance(value, Tensor):
                changed[field_.name] = of_tensor(value)
            elif isinstance(value, dict):
                changed[field_.name] = {name: of_tensor(tensor) for name, tensor in value.items()}
            else:
                changed[field_.name] = of_items(value) if len(value) else value  # nobody has said anything of it
        return Trajectories(**changed)

    def notes_of(self, rows: Tensor) -> Notes | None:
        """What the policy attended to in the episodes `rows` (R,) beside their tokens; None if there was no such thing.

        `lm.engine.notes` says what notes are; a note counts from a position of its row on, in later token rows, too.
        """
        return Notes(**{name: tensor[rows] for name, tensor in self.notes.items()}) if self.notes else None

    def read(self, rows: Tensor, width: int, function: Callable[..., Read]) -> Read:
        """What a function of token rows, their completion masks and, of a batch with notes, their `Notes` says of rows
        (n,), of which `width` columns are wanted. The token rows of an episode are read one by one.

        Args:
            function: a forward pass, (tokens (s, t), completion_mask (s, t)) or (tokens, completion_mask, notes) ->
                (s, t) or a named tuple of such, zero where the mask is False.

        Returns:
            its tensors, (n, width) each, aligned with the batch.
        """
        tokens, mask, notes = self.tokens[rows, :width], self.completion_mask[rows, :width], self.notes_of(rows)
        starts = [self.starts[row] for row in rows.tolist()] if self.starts else []
        if any(len(begins) > 1 for begins in starts):
            return read_apart(function, tokens, mask, starts, notes)
        return function(tokens, mask) if notes is None else function(tokens, mask, notes)

    def require_whole(self, who: str) -> None:
        """Raises ValueError if an episode has several token rows. who: whom the message names, who cannot take them."""
        if any(len(begins) > 1 for begins in self.starts):
            raise ValueError(
                f"{who} takes an episode as one row of tokens, and here contexts were cut: use an env with "
                'context_overflow="end" and drafts="visible", and a larger max_context_tokens'
            )

    @property
    def longest_token_row(self) -> int:
        """How long token rows are, with padding: L if no context was cut, else the length of the longest of them."""
        if not self.starts:
            return self.tokens.shape[1]
        ends = [[*begins[1:], length] for begins, length in zip(self.starts, self.lengths.tolist(), strict=True)]
        return max(
            e - b for begins, of_row in zip(self.starts, ends, strict=True) for b, e in zip(begins, of_row, strict=True)
        )

    @property
    def stopped(self) -> Tensor:
        """(N,) bool: episodes whose last turn the agent ended itself, by an end token or a stop string.

        Of trajectories that were made without `stops`: those whose finish reason is "stop".
        """
        stops = self.stops or [reason == "stop" for reason in self.finish_reasons]
        return torch.tensor(stops, dtype=torch.bool, device=self.tokens.device)

    @property
    def lengths(self) -> Tensor:
        """(N,) int64: tokens in each row."""
        return (self.tokens >= 0).sum(1)

    @property
    def completion_lengths(self) -> Tensor:
        """(N,) int64: tokens that the agent chose."""
        return self.completion_mask.sum(1)

    @property
    def idle_share(self) -> float:
        """The share of the rollout's token-steps in which a row that has episodes here was given no token for them."""
        waited = sum(self.waited)
        return waited / (waited + int(self.completion_mask.sum()))

    @property
    def episode_returns(self) -> Tensor:
        """(N,) float32: undiscounted sums of the env's rewards."""
        return self.rewards.sum(1)


def join(parts: Sequence[Trajectories]) -> Trajectories:
    """The episodes of all parts, one part after the other. Raises ValueError if there is no part."""
    if not parts:
        raise ValueError("no parts to join: expected at least one")
    joined: dict[str, Any] = {}
    for name in (field_.name for field_ in fields(Trajectories)):
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], Tensor):
            joined[name] = torch.cat(_as_wide(values, fill=-1 if name == "tokens" else 0))
        elif isinstance(values[0], dict):
            joined[name] = {key: torch.cat([value[key] for value in values]) for key in values[0]}
        else:
            joined[name] = [item for value in values for item in value]
    return Trajectories(**joined)


def _as_wide(tensors: list[Tensor], fill: int) -> list[Tensor]:
    """Tensors (N, L) of several L, padded to the widest; others as they are."""
    if tensors[0].dim() < 2 or len({x.shape[1] for x in tensors}) == 1:
        return tensors
    width = max(x.shape[1] for x in tensors)
    return [torch.nn.functional.pad(x, (0, width - x.shape[1]), value=fill) for x in tensors]


def minibatches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """A fresh permutation of 0 … count-1 in pieces of at most `size`, (size,) int64 on the CPU."""
    yield from torch.randperm(count, generator=generator).split(size)


def by_length(rows: Tensor, lengths: Tensor, max_tokens: int) -> Iterator[Tensor]:
    """Rows (R,) in pieces of similar length, each of at most `max_tokens` padded tokens: little padding is computed.

    A piece holds at least one row. lengths: (N,) of all rows. Order inside a minibatch does not change its gradient.
    """
    ordered = rows[lengths[rows].argsort()]
    widths = lengths[ordered].tolist()
    start = 0
    for end in range(1, len(ordered) + 1):
        last = end == len(ordered)
        if last or (end + 1 - start) * widths[end] > max_tokens:
            yield ordered[start:end]
            start = end
