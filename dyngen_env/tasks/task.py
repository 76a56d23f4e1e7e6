"""The protocol of a task: a distribution over examples."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dyngen_env.types import Example


class Task(Protocol):
    """Draws what an episode is about. All chance comes from the generator that is passed in."""

    def sample(self, rng: np.random.Generator) -> Example:
        """One example. Called at every reset with a fresh generator of the episode's `task` stream."""
