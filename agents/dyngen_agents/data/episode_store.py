"""Many episodes of different lengths at the size that they have, and any of them as one padded batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.functional.returns import returns_to_go
from dyngen_env.text.media import Medium, medium_of
from dyngen_env.text.media.tokens import media_of


@dataclass(frozen=True)
class StoredEpisode:
    """One episode of T tokens on the CPU, aligned as in `Trajectories`, without padding."""

    tokens: Tensor  # (T,) int64: places of media are numbers from 2^62 on
    completion_mask: Tensor  # (T,) bool
    rewards: Tensor  # (T,) float32
    logprobs: Tensor  # (T,) float32, of the behaviour policy; zero where nobody knows them
    bootstrap: float = 0.0  # as in `Trajectories`; NaN: it goes on, and nobody knows what the last state is worth
    prompt: str = ""
    text: str = ""
    finish_reason: str = ""
    stopped: bool = False
    media: tuple[Medium, ...] = ()  # what it has shown: its tokens name them, this keeps them alive


class EpisodeStore:
    """Episodes in the order in which they came; above `capacity` the oldest are dropped.

    A padded batch of all of them would take the length of the longest for each: memory here is that of their tokens.

    Args:
        episodes: the first ones. capacity: how many are kept; None keeps all.
    """

    def __init__(self, episodes: Sequence[StoredEpisode] = (), capacity: int | None = None):
        self.capacity = capacity
        self.episodes: list[StoredEpisode] = []
        self._extend(episodes)

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def returns(self) -> Tensor:
        """(N,) float64: undiscounted sums of the rewards."""
        return torch.tensor([float(episode.rewards.double().sum()) for episode in self.episodes], dtype=torch.float64)

    def returns_to_go(self, gamma: float) -> Tensor:
        """(M,) float32: what was still earned from each of the M choices on, discounted by γ per choice."""
        parts = []
        for rows in torch.arange(len(self)).split(256):
            some = self.take(rows.tolist())
            parts.append(returns_to_go(some.rewards, some.bootstrap, some.completion_mask, gamma)[some.completion_mask])
        return torch.cat(parts)

    def value_range(self, gamma: float) -> tuple[float, float]:
        """The least and the most that can still be earned, where no choice is paid less or more than has been seen.

        A bootstrapped value outside of it is an error that would feed on itself.
        """
        paid = [(float(episode.rewards.min()), float(episode.rewards.max())) for episode in self.episodes]
        lowest, highest = min(0.0, *(low for low, _ in paid)), max(0.0, *(high for _, high in paid))
        if gamma == 1.0:
            return (-math.inf if lowest < 0 else 0.0), (math.inf if highest > 0 else 0.0)
        return lowest / (1 - gamma), highest / (1 - gamma)

    def add(self, batch: Trajectories) -> None:
        """Take in the episodes of a batch. Raises ValueError if the context of one was cut."""
        batch.require_whole("a store of episodes")
        batch = batch.to("cpu")
        stopped = batch.stopped.tolist() if batch.stops or batch.finish_reasons else [False] * len(batch)
        lengths, bootstrap = batch.lengths.tolist(), batch.bootstrap.tolist()
        media = batch.media or [()] * len(batch)
        prompts, texts, reasons = (x or [""] * len(batch) for x in (batch.prompts, batch.texts, batch.finish_reasons))
        self._extend(
            [
                StoredEpisode(
                    tokens=batch.tokens[i, :t].clone(),
                    completion_mask=batch.completion_mask[i, :t].clone(),
                    rewards=batch.rewards[i, :t].clone(),
                    logprobs=batch.logprobs[i, :t].clone(),
                    bootstrap=bootstrap[i],
                    prompt=prompts[i],
                    text=texts[i],
                    finish_reason=reasons[i],
                    stopped=stopped[i],
                    media=tuple(media[i]),
                )
                for i, t in enumerate(lengths)
            ]
        )

    def take(self, rows: Sequence[int]) -> Trajectories:
        """Episodes by their numbers, as a batch on the CPU as wide as the longest. `values` are zero."""
        some = [self.episodes[row] for row in rows]

        def padded(name: str, fill: float) -> Tensor:
            return torch.nn.utils.rnn.pad_sequence([getattr(e, name) for e in some], True, fill)

        tokens = padded("tokens", -1)
        return Trajectories(
            tokens=tokens,
            completion_mask=padded("completion_mask", 0),
            logprobs=padded("logprobs", 0),
            values=torch.zeros(tokens.shape),
            rewards=padded("rewards", 0),
            bootstrap=torch.tensor([e.bootstrap for e in some]),
            groups=torch.arange(len(some)),
            prompts=[e.prompt for e in some],
            texts=[e.text for e in some],
            finish_reasons=[e.finish_reason for e in some],
            stops=[e.stopped for e in some],
            media=[e.media for e in some] if any(e.media for e in some) else (),
        )

    def best(self, fraction: float) -> EpisodeStore:
        """The `fraction` of the episodes with the highest returns, at least one; of equals the earlier ones."""
        keep = best_rows(self.returns, fraction)
        return EpisodeStore([self.episodes[row] for row in keep.sort().values.tolist()])

    def cut(self, turns: int) -> EpisodeStore:
        """The episodes in pieces of so many turns of the agent, each from the user's message before them on.

        A piece that another one follows ends with what the agent reads next, and its bootstrap is NaN. Long rows cost
        the square of their length; whoever cuts them says that an old message tells nothing that a newer one does not.
        """
        return EpisodeStore([piece for episode in self.episodes for piece in _pieces(episode, turns)], self.capacity)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold so that the same can be learned from it: everything but the texts."""
        if not self.episodes:
            return {}
        parts = {name: [getattr(e, name) for e in self.episodes] for name in _TENSORS}
        media = dict.fromkeys(medium for e in self.episodes for medium in e.media)
        return {
            **{name: torch.cat(tensors) for name, tensors in parts.items()},
            "lengths": torch.tensor([len(e.tokens) for e in self.episodes]),
            "bootstrap": torch.tensor([e.bootstrap for e in self.episodes]),
            **{f"{_MEDIA}{medium.number}": torch.from_numpy(medium.array.copy()) for medium in media},
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        self.episodes = []
        if tensors:
            lengths = tensors["lengths"].tolist()
            parts = {name: tensors[name].split(lengths) for name in _TENSORS}
            parts["tokens"] = tensors["tokens"].long().split(lengths)  # int32 in checkpoints of earlier versions
            shown = [medium_of(array.numpy()) for name, array in tensors.items() if name.startswith(_MEDIA)]
            last = tensors["bootstrap"].tolist()
            self._extend(
                [
                    StoredEpisode(
                        **{name: parts[name][i] for name in _TENSORS},
                        bootstrap=last[i],
                        media=media_of(parts["tokens"][i].tolist()) if shown else (),
                    )
                    for i in range(len(lengths))
                ]
            )

    def _extend(self, episodes: Sequence[StoredEpisode]) -> None:
        self.episodes.extend(episodes)
        if self.capacity is not None:
            del self.episodes[: max(0, len(self.episodes) - self.capacity)]


def _pieces(episode: StoredEpisode, turns: int) -> list[StoredEpisode]:
    chosen = episode.completion_mask
    begins = (chosen & ~torch.cat([torch.zeros(1, dtype=torch.bool), chosen[:-1]])).nonzero().flatten().tolist()
    ends = (chosen & ~torch.cat([chosen[1:], torch.zeros(1, dtype=torch.bool)])).nonzero().flatten().tolist()
    starts = [0, *(end + 1 for end in ends[turns - 1 : -1 : turns])]  # after the turn before it
    stops = [*begins[turns::turns], len(chosen)]  # before the turn after it
    return [
        replace(
            episode,
            **{name: getattr(episode, name)[start:stop] for name in _TENSORS},
            bootstrap=episode.bootstrap if stop == len(chosen) else math.nan,
        )
        for start, stop in zip(starts, stops, strict=True)
    ]


_TENSORS = ("tokens", "completion_mask", "rewards", "logprobs")
_MEDIA = "media."  # before a medium's number, in a checkpoint


def best_rows(returns: Tensor, fraction: float) -> Tensor:
    """The numbers of the best `fraction` of returns (N,), at least one, the highest first; of equals the earlier."""
    count = max(1, round(fraction * len(returns)))
    return returns.argsort(descending=True, stable=True)[:count]


def shuffled_rows(total: int, count: int, batch: int, seed: int) -> list[int]:
    """The `batch`-th so many of the numbers below `total`, which come in one new random order after the other.

    Batches that follow each other hold every number equally often, up to one. It is a function of its arguments alone:
    a run that goes on draws what it would have drawn.
    """
    start, out = batch * count, list[int]()
    while len(out) < count:
        order, place = divmod(start + len(out), total)
        generator = torch.Generator().manual_seed((seed * 1_000_003 + order) % 2**63)
        out += torch.randperm(total, generator=generator)[place : place + count - len(out)].tolist()
    return out
