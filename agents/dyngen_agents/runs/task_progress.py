"""Tasks of a mixture in proportion to learning progress: what the policy gets better or worse at is played more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FAST, SLOW = 0.5, 0.1  # α of the two running means: they look back over about 2 and 10 updates
EXPLORE = 0.2  # the share of episodes that go by the mixture's own weights, so that no task is forgotten


@dataclass(frozen=True)
class TaskProgress:
    """Two running means of what each task's episodes return, a fast and a slow one, by id.

    Learning progress is their distance, LP_i = |fast_i − slow_i| (Kanitscheider et al. 2021, "Multi-task curriculum
    learning in a complex, visual, hard-exploration domain: Minecraft", there of success probabilities). It falls to 0
    where a task is mastered and where nothing is learned, and rises where something is forgotten.
    """

    fast: dict[str, float] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)

    def with_more(self, returns: Mapping[str, float]) -> TaskProgress:
        """These means after an update with these mean returns of tasks; those of tasks that were not played stay.

        Args:
            returns: by id, divided by the tasks' scales, so that they can be compared.
        """
        fast, slow = dict(self.fast), dict(self.slow)
        for task, value in returns.items():
            for means, rate in ((fast, FAST), (slow, SLOW)):
                means[task] = means.get(task, value) + rate * (value - means.get(task, value))
        return TaskProgress(fast, slow)

    def weights(self, shares: Mapping[str, float]) -> dict[str, float]:
        """How often to play each task next, as shares of 1:  ε w_i + (1 − ε) w_i LP_i / Σ_j w_j LP_j.

        Args:
            shares: w, the mixture's own weights divided by their sum. They stay where there is no progress at all.
        """
        progress = {task: w * abs(self.fast.get(task, 0.0) - self.slow.get(task, 0.0)) for task, w in shares.items()}
        whole = sum(progress.values())
        if not whole:
            return dict(shares)
        return {task: EXPLORE * w + (1 - EXPLORE) * progress[task] / whole for task, w in shares.items()}
