"""A rollout buffer that yields whole episode segments, so that an update runs each text once and not each prefix.

A segment of n steps of one env is n observations of which each continues the one before: the last one contains them
all, and under causal attention the hidden state at an earlier position is that of the earlier observation.
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
    """Steps first … end-1 of one env: a segment."""

    env: int
    first: int
    end: int


@dataclass(frozen=True)
class Segments:
    """S segments of N steps in all, as an observation: step i has read `tokens[rows[i], : columns[i] + 1]`."""

    tokens: Tensor  # (S, L) int64, padded with -1
    rows: Tensor  # (N,) int64
    columns: Tensor  # (N,) int64, each step's last token


class SegmentRolloutBuffer(RolloutBuffer):
    """A `rollout_buffer_class` for PPO and A2C with an `LMActorCriticPolicy`.

    A minibatch is a set of whole segments of about `batch_size` steps together; each step is in one minibatch of each
    epoch, as in SB3's own buffer. The order comes from torch's global generator, which SB3's `seed=` seeds.

    Raises:
        ValueError: the observations are not token rows.
    """

    def __init__(self, buffer_size: int, observation_space: spaces.Space, *args, **kwargs):
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise ValueError(
                f"SegmentRolloutBuffer got observations in {observation_space}, expected rows of tokens: make the env "
                'with observation="tokens", or leave rollout_buffer_class out'
            )
        super().__init__(buffer_size, observation_space, *args, **kwargs)

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Minibatches of whole segments; None: one with everything."""
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
    """The segments of a rollout: cut where an episode starts, and where an observation does not continue the last.

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
    """Segments of (T, E, L) tokens as one observation, on a device."""
    last = np.stack([tokens[end - 1, env] for env, _, end in spans])
    lengths = (gather(tokens, spans) >= 0).sum(-1)
    rows = np.repeat(np.arange(len(spans)), [end - first for _, first, end in spans])
    width = int(lengths.max())
    return Segments(*(torch.as_tensor(x, device=device) for x in (last[:, :width], rows, lengths - 1)))


def gather(array: np.ndarray, spans: Iterable[Span]) -> np.ndarray:
    """The steps of some segments one after the other, (N, ...) of (T, E, ...). A last axis of length 1 is dropped."""
    steps = np.concatenate([array[first:end, env] for env, first, end in spans])
    return steps[:, 0] if steps.ndim == 2 and steps.shape[1] == 1 else steps


def scatter(values: np.ndarray, spans: Iterable[Span], into: np.ndarray) -> None:
    """The inverse of `gather`: write values (N,) of some segments' steps to their places in (T, E)."""
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
