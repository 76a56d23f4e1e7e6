"""A rollout buffer of whole episode segments: an update runs each text through the model once, not once per prefix.

A segment is a run of steps of one env in which each observation continues the one before. Its last observation contains
all others as prefixes, and under causal attention the hidden state at an earlier position is that of the prefix.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor


class Span(NamedTuple):
    """A segment: the steps from `first` up to, but not including, `end` of one env of the rollout."""

    env: int
    first: int
    end: int


@dataclass(frozen=True)
class Segments:
    """S segments with N steps together, as one observation: step i has seen `tokens[rows[i], : columns[i] + 1]`."""

    tokens: Tensor  # (S, L) int64, padded with -1
    rows: Tensor  # (N,) int64, the segment of each step
    columns: Tensor  # (N,) int64, the position of the last token that the step has seen


class SegmentRolloutBuffer(RolloutBuffer):
    """A `rollout_buffer_class` for PPO and A2C with an `LMActorCriticPolicy`.

    A minibatch is a set of whole segments with about `batch_size` steps together. As in SB3's own buffer, each step is
    in exactly one minibatch of an epoch. The order is drawn from torch's global generator, which SB3's `seed=` seeds.

    Raises:
        ValueError: the observations are not rows of tokens.
    """

    def __init__(self, buffer_size: int, observation_space: spaces.Space, *args, **kwargs):
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise ValueError(
                f"SegmentRolloutBuffer got observations in {observation_space}, expected rows of tokens: make the env "
                'with observation="tokens", or leave rollout_buffer_class out'
            )
        super().__init__(buffer_size, observation_space, *args, **kwargs)

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Yield minibatches of about `batch_size` steps; None yields all steps at once."""
        assert self.full, "the buffer is not full yet"
        spans = find_spans(self.observations, self.episode_starts)
        order = torch.randperm(len(spans)).tolist()
        for batch in _batches([spans[i] for i in order], batch_size or self.buffer_size * self.n_envs):
            yield RolloutBufferSamples(
                pack(self.observations, batch, self.device),  # type: ignore[arg-type]
                *(
                    self.to_torch(gather(array, batch))
                    for array in (self.actions, self.values, self.log_probs, self.advantages, self.returns)
                ),
            )


def find_spans(tokens: np.ndarray, episode_starts: np.ndarray) -> list[Span]:
    """The segments of a rollout. A new one begins where an episode starts or an observation does not continue the last.

    Args:
        tokens: (T, E, L) int64, -1 where empty. episode_starts: (T, E), nonzero at an episode's first step.
    """
    before, after = tokens[:-1], tokens[1:]
    grows = ((before == after) | (before < 0)).all(-1)
    cuts = np.ones((len(tokens) + 1, tokens.shape[1]), dtype=bool)
    cuts[1:-1] = (episode_starts[1:] != 0) | ~grows
    spans = []
    for env, column in enumerate(cuts.T):
        at = column.nonzero()[0].tolist()
        spans += [Span(env, first, end) for first, end in pairwise(at)]
    return spans


def pack(tokens: np.ndarray, spans: Sequence[Span], device: torch.device | str) -> Segments:
    """The given segments of tokens (T, E, L) as one observation on `device`, cut to the longest of them."""
    last = np.stack([tokens[end - 1, env] for env, _, end in spans])
    lengths = (gather(tokens, spans) >= 0).sum(-1)
    rows = np.repeat(np.arange(len(spans)), [end - first for _, first, end in spans])
    width = int(lengths.max())
    return Segments(*(torch.as_tensor(x, device=device) for x in (last[:, :width], rows, lengths - 1)))


def gather(array: np.ndarray, spans: Iterable[Span]) -> np.ndarray:
    """The entries (N, ...) of an array (T, E, ...) at the steps of some segments, one segment after the other.

    An array (T, E, 1), as SB3 keeps discrete actions, gives (N,).
    """
    steps = np.concatenate([array[first:end, env] for env, first, end in spans])
    return steps[:, 0] if steps.ndim == 2 and steps.shape[1] == 1 else steps


def scatter(values: np.ndarray, spans: Iterable[Span], into: np.ndarray) -> None:
    """The inverse of `gather`: write values (N,) of the steps of some segments to their places in an array (T, E)."""
    at = 0
    for env, first, end in spans:
        into[first:end, env] = values[at : at + end - first]
        at += end - first


def _batches(spans: list[Span], size: int) -> Iterator[list[Span]]:
    """Consecutive segments in batches of about `size` steps: as many as an exact split gives, none of them tiny."""
    steps = np.array([end - first for _, first, end in spans])
    count = max(1, round(steps.sum() / size))
    middle = steps.cumsum() - steps / 2
    belongs = (middle * count // steps.sum()).astype(int)
    for batch in range(count):
        chosen = [spans[i] for i in (belongs == batch).nonzero()[0]]
        if chosen:
            yield chosen
