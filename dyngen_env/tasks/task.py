"""The task protocol: a distribution over examples, from which every reset draws one."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dyngen_env.types import Example


class Task(Protocol):
    """Draws the example that an episode is about. `testing.check_task` checks one of your own.

    A task whose examples show pictures or sounds says by an attribute `media`, a `text.media.MediaRoom`, how many an
    example has at most, and of what size.
    """

    def sample(self, rng: np.random.Generator) -> Example:
        """One example, drawn by `rng` alone, so that equal seeds give equal examples.

        Every reset calls it with a new generator, made from the episode's seed for this purpose.
        """
