"""A reward scaled to mean 0 and standard deviation 1: by given numbers, or by those of all payments so far."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.parts import parts_of
from dyngen_env.rewards.transforms.wrapped import Wrapped
from dyngen_env.types import Transition

SMALLEST = 1e-8  # a deviation below this is none, and nothing is divided by it


@dataclass(frozen=True)
class Moments:
    """The count, the mean and the sum of squared deviations from the mean of a set of numbers."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def with_more(self, values: torch.Tensor) -> Moments:
        """The moments of these numbers and `values` (n,) float64 together (Chan, Golub and LeVeque 1979, eq. 2.1)."""
        n = len(values)
        if not n:
            return self
        mean = float(values.mean())
        apart, count = mean - self.mean, self.count + n
        squares = self.squares + float(((values - mean) ** 2).sum()) + apart**2 * self.count * n / count
        return Moments(count, self.mean + apart * n / count, squares)

    @property
    def std(self) -> float:
        """The standard deviation, with n and not n - 1 below the sum; 0 of no numbers."""
        return sqrt(self.squares / self.count) if self.count else 0.0


class Normalised(Wrapped):
    """Another reward, of which each payment r becomes (r - mean) / std.

    A payment is that of a turn, or of a token if the reward pays by token. Without `mean` and `std` they are estimated
    from everything the env has paid so far, this step included: then equal texts are paid differently at different
    times, and a forked env goes on with an estimate of its own. So what two policies are paid cannot be compared, and
    learners refuse it (`refuse_moving_scales`). Subtracting a mean can change which policy is best, where episodes
    differ in their number of turns.

    Args:
        reward: a reward, a number or a function of text.
        mean, std: of the payments; both or neither.

    Raises:
        ValueError: one of mean and std without the other, or std is not above 0.
    """

    label = "normalised({})"

    def __init__(self, reward: Any, mean: float | None = None, std: float | None = None):
        super().__init__(reward)
        given = [x for x in (mean, std) if x is not None]
        numbers = all(isinstance(x, int | float) and isfinite(x) for x in given)
        if len(given) == 1 or not numbers or (std is not None and std <= 0):
            raise ValueError(f"normalised with mean={mean!r}, std={std!r}: expected both, std above 0, or neither")
        self.fixed = None if mean is None or std is None else (mean, std)
        self.seen = Moments()
        self._take(self.inner)

    fixed: tuple[float, float] | None = None

    def _take(self, inner: Reward) -> None:
        super()._take(inner)
        self.every_step = inner.every_step or self.fixed is None

    def __call__(self, transition: Transition) -> torch.Tensor:
        paid = self.inner(transition).double()
        where = transition.live if self.per_token else transition.turn_ended
        if self.fixed:
            mean, std = self.fixed
        else:
            self.seen = self.seen.with_more(paid[where])
            mean, std = self.seen.mean, self.seen.std
        return torch.where(where, (paid - mean) / (std if std > SMALLEST else 1.0), 0.0)


def refuse_moving_scales(reward: Reward) -> None:
    """Raises ValueError if a part of the reward is `normalised` by figures of what it has paid so far.

    Such a part pays any policy about 0 on average, so it measures none: neither in training and evaluation, which are
    two envs with figures of their own, nor where designs are compared.
    """
    for part in parts_of(reward):
        if isinstance(part, Normalised) and part.fixed is None:
            raise ValueError(
                f"{part.name} fits its scale anew wherever it is paid, so two policies cannot be compared by it: fix "
                f"it, as in normalised({part.inner.name}, mean=0.1, std=0.4) with figures of the untrained model, or "
                "leave it out and scale returns by normalise_reward (--normalise-reward)"
            )
