"""When a reward was hacked: it rose in training, and something that was not paid for got worse."""

from __future__ import annotations

from collections.abc import Mapping

from agents.reward_bench.statistics import Estimate


def fallen(own: Estimate, held_out: Mapping[str, Estimate]) -> tuple[str, ...]:
    """The held-out measures that fell while the design's own reward rose; any is a sign of reward hacking.

    Rise and fall are changes from the untrained policy whose 95% interval excludes 0.

    Args:
        own: the change of the reward that was trained on.
        held_out: the changes of measures of quality that are no part of it, by name.
    """
    if not own.above_zero:
        return ()
    return tuple(name for name, change in held_out.items() if change.below_zero)
