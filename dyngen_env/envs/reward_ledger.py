"""The books of an env's reward: what each of its terms pays in a step, has paid in the episode, and still owes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch

from dyngen_env.rewards import Reward, RewardContext
from dyngen_env.rewards.base import term_names, with_price_of_illegal
from dyngen_env.rewards.finite import LARGEST
from dyngen_env.rewards.of_task import task_of
from dyngen_env.rewards.payments import amounts_of, check_payable
from dyngen_env.rewards.transforms.delay import is_due
from dyngen_env.types import Transition


class Entry(NamedTuple):
    """The books after a step of B rows, by K terms."""

    rewards: torch.Tensor  # (B,) float64, paid in this step; zero on rows that were not live
    paid: torch.Tensor  # (B, K) float64, paid in the episode so far, this step included
    owed: torch.Tensor  # (B, K) float64, earned in the episode, but withheld by `delayed`


class RewardLedger:
    """Computes what K terms pay. It remembers nothing of the rows: what they were paid is passed in and out.

    Args:
        reward: a sum of terms. If none of them is the price of illegal tokens, one is added (`with_price_of_illegal`).
        context: what the env tells its rewards.

    Attributes:
        reward: the whole, bound to the context.
        names: (K,) what the terms are called in `info["reward_terms"]`; a second equal name gets `_2`.
        implied: the name of the added term, reported only where it was paid; None if the reward prices illegal
            tokens itself.
        tasks: (K,) the task in whose rows alone a term pays, where an env plays several; else None.
        holds: whether a term is paid later than it is earned, so that something can be owed.
    """

    def __init__(self, reward: Reward, context: RewardContext):
        self.context = context
        whole, self.implied = with_price_of_illegal(reward.bind(context))
        self._keep(whole)
        self.names = term_names(self._terms)
        self.tasks = tuple(task_of(part) for part in self._parts)

    def _keep(self, reward: Reward) -> None:
        self.reward, self._terms = reward, reward.terms()
        self._parts = [part for _, part in self._terms]
        self.holds = any(part.held_until for part in self._parts)

    def rebound(self) -> RewardLedger:
        """A ledger of the same terms that shares nothing that they remember (see `Reward.bind`)."""
        twin = copy.copy(self)
        twin._keep(self.reward.bind(self.context))
        return twin

    def zeros(self, rows: int) -> torch.Tensor:
        """(rows, K) float64: nothing paid, or nothing owed."""
        return torch.zeros(rows, len(self._terms), dtype=torch.float64, device=self.context.device)

    def pay(self, paid: torch.Tensor, owed: torch.Tensor, transition: Transition, all_live: bool = False) -> Entry:
        """The entry of one step, given what was paid and owed (B, K) before it.

        Args:
            all_live: the caller knows that all rows were live, which saves a comparison of rows.

        Raises:
            ValueError: a term, or their sum, is not a finite number that float32 can hold; the message names it.
        """
        if not transition.rows and not self.reward.per_token:
            return Entry(torch.zeros(len(paid), dtype=paid.dtype, device=paid.device), paid, owed)
        due = [bool(transition.rows) or part.per_token for part in self._parts]
        entry, earned = self._settle(paid, owed, transition, due, all_live)
        self.check(entry, earned)
        return entry

    @property
    def on_tokens(self) -> bool:
        """Whether all terms can be computed without the host (`Reward.on_tokens`)."""
        return self.reward.on_tokens

    def pay_on_tokens(
        self, paid: torch.Tensor, owed: torch.Tensor, transition: Transition, all_live: bool = False
    ) -> tuple[Entry, torch.Tensor, torch.Tensor]:
        """`pay` without the host, which does not know whether a turn has ended.

        Returns:
            The entry; (B, K) what was earned; (B,) bool, where it can surely be paid: if not everywhere, ask `check`.
        """
        entry, earned = self._settle(paid, owed, transition, [True] * len(self._parts), all_live)
        most = earned.abs().sum(1)
        if self.holds:
            most = most + entry.rewards.abs()
        return entry, earned, most <= LARGEST  # False where NaN

    def check(self, entry: Entry, earned: torch.Tensor) -> None:
        """Raises ValueError, naming the term, unless what was earned (B, K), and the rewards, can be paid."""
        # What each can hold, their sum may not; nor may what a delayed one has earned in several steps.
        names = [*(part.name for part in self._parts), self.reward.name]
        check_payable(torch.cat([earned, entry.rewards.unsqueeze(1)], dim=1), names)

    def _settle(
        self, paid: torch.Tensor, owed: torch.Tensor, transition: Transition, due: Sequence[bool], all_live: bool
    ) -> tuple[Entry, torch.Tensor]:
        columns = [
            _scaled(scale, amounts_of(part, transition)) if now else torch.zeros_like(paid[:, 0])
            for (scale, part), now in zip(self._terms, due, strict=True)
        ]
        amounts = torch.stack(columns).t()  # a sum over the few columns is quick if each is contiguous
        if not all_live:
            amounts = torch.where(transition.live.unsqueeze(1), amounts, 0.0)
        earned = amounts
        if self.holds:
            pending, due_now = owed + earned, is_due(self._parts, transition)
            amounts, owed = torch.where(due_now, pending, 0.0), torch.where(due_now, 0.0, pending)
        return Entry(amounts.sum(1), paid + amounts, owed), earned


def _scaled(scale: float, amounts: torch.Tensor) -> torch.Tensor:
    return amounts if scale == 1.0 else scale * amounts
