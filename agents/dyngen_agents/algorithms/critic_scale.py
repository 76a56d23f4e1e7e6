"""A critic that learns equally well whatever the rewards' size: its targets are measured in their own deviation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dyngen_agents.functional.returns import masked_mean, returns_to_go
from dyngen_agents.policy.value_head import ValueHead

DECAY = 0.9  # of the running moments, an update: about the last ten count


class CriticScale:
    """Keeps the value head's μ and σ at the running mean and deviation of returns (Pop-Art, van Hasselt et al. 2016).

    An optimizer moves a value by about the learning rate an update, whatever its error: returns of size 10 are not
    reached, and their errors' gradients outweigh the policy's. In units of σ neither depends on the rewards' size.
    Unlike the paper's, the moments are those of whole batches, free of the bias towards their start (as Adam's), so
    that the first batch counts in full: ten times the rewards is ten times the values from the first update on.
    """

    def __init__(self, head: ValueHead):
        self.head, self.updates, self.first_moment, self.second_moment = head, 0, 0.0, 0.0

    def observe(
        self, values: Tensor, rewards: Tensor, bootstrap: Tensor, completion_mask: Tensor, gamma: float
    ) -> Tensor:
        """Take the returns of a batch into account; afterwards the head answers in the new units.

        Args:
            values: (N, L), V before each choice, as the rollout has it. rewards: (N, L).
            bootstrap: (N,) what follows the last choice. completion_mask: (N, L) bool. gamma: the discount.

        Returns:
            the values (N, L) as the head has them now: those given, or, the first time, the batch's mean return. A head
            that has learned nothing had better say that than 0.
        """
        untaught = self.updates == 0 and not bool(self.head.weight.any() or self.head.bias.any())
        returns = returns_to_go(rewards, bootstrap, completion_mask, gamma).double()
        self.updates += 1
        for name, power in (("first_moment", 1), ("second_moment", 2)):
            moment = float(masked_mean(returns**power, completion_mask))
            setattr(self, name, DECAY * getattr(self, name) + (1 - DECAY) * moment)
        mean, std = self.moments()
        if untaught:
            self.head.begin_at(mean, std)
            return values + mean * completion_mask
        self.head.rescale(mean, std)
        return values

    def moments(self) -> tuple[float, float]:
        """Mean and deviation of returns; deviation 1 where they are all equal, but for rounding."""
        seen = 1 - DECAY**self.updates
        mean = self.first_moment / seen
        variance = self.second_moment / seen - mean**2
        return mean, variance**0.5 if variance > 1e-12 * mean**2 else 1.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, beside the head's tensors."""
        return {"updates": self.updates, "first_moment": self.first_moment, "second_moment": self.second_moment}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.updates, self.first_moment = state["updates"], state["first_moment"]
        self.second_moment = state["second_moment"]
