"""An alarm for critics: a value above every return ever seen has been learned from values, not from rewards."""

from __future__ import annotations

import logging

from torch import Tensor

from dyngen_agents.functional.returns import masked_mean, returns_to_go

MARGIN = 1.5  # a sound critic may overshoot, at a high learning rate, a return that hardly varies

log = logging.getLogger(__name__)


class ValueAlarm:
    """Compares what a critic expects with the largest return of the run so far.

    Attributes:
        largest: the largest |Gₜ| of any choice in any batch so far, in units of reward; a checkpoint keeps it.
    """

    def __init__(self) -> None:
        self.largest, self._raised = 0.0, False

    def check(self, values: Tensor, rewards: Tensor, completion_mask: Tensor, gamma: float) -> bool:
        """Whether the mean of |V| over a batch is above the largest return seen; then the log warns, once.

        Args:
            values: (N, L) what the critic expected before each choice. rewards: (N, L) what it learns from.
            completion_mask: (N, L) bool. gamma: the discount.
        """
        nothing = rewards.new_zeros(len(rewards))
        returns = returns_to_go(rewards, nothing, completion_mask, gamma)
        self.largest = max(self.largest, float(returns.abs().max()))
        mean = float(masked_mean(values.abs(), completion_mask))
        above = mean > MARGIN * self.largest
        if above and not self._raised:
            log.warning(
                "the critic expects a return of size %.3g on average, but the largest that any episode had is %.3g: "
                "it learns from its own values, so advantages mean little. Lower learning_rate or vf_coef",
                mean, self.largest,
            )  # fmt: skip
        self._raised = above
        return above
