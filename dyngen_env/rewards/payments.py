"""What rewards pay in one step: a finite number for each row, or an error that names the reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from dyngen_env.rewards.finite import LARGEST, RULE, as_finite, shown
from dyngen_env.types import Transition

if TYPE_CHECKING:
    from dyngen_env.rewards.base import Reward


def payment(part: Reward, transition: Transition) -> torch.Tensor:
    """What a reward pays for a transition, as a float64 tensor (B,).

    Raises:
        ValueError: it pays something else than B finite numbers that float32 can hold; the message names the reward.
    """
    paid = amounts_of(part, transition)
    check_payable(paid.unsqueeze(1), [part.name])
    return paid


def amounts_of(part: Reward, transition: Transition) -> torch.Tensor:
    """The same as `payment`, without the check that the numbers are finite, for which the host must read them from the
    device: `check_payable` makes it for many rewards at once.
    """
    rows = tuple(transition.actions.shape)
    try:
        paid = part(transition)
    except UnpayableTurn as error:
        raise ValueError(f"reward {part.name!r} {error}") from error
    except OverflowError as error:
        raise ValueError(f"reward {part.name!r} fails with an overflow ({error}): {RULE}") from error
    if not isinstance(paid, torch.Tensor) or tuple(paid.shape) != rows or paid.is_complex():
        got = f"{paid.dtype} of shape {tuple(paid.shape)}" if isinstance(paid, torch.Tensor) else shown(paid)
        raise ValueError(
            f"reward {part.name!r} returned {got}: expected a finite number for each row, as a float tensor of shape "
            f"{rows}"
        )
    return paid.double()


def check_payable(paid: torch.Tensor, names: Sequence[str]) -> None:
    """Raises ValueError, naming the reward, unless all of paid (B, K) are finite and float32 can hold them.

    Args:
        names: (K,) of the rewards that pay the columns.
    """
    payable = paid.abs() <= LARGEST  # False where NaN
    if not bool(payable.all()):
        row, column = (~payable).nonzero()[0].tolist()
        raise ValueError(f"reward {names[column]!r} pays {float(paid[row, column])} in row {row}: {RULE}")


class UnpayableTurn(ValueError):
    """A value that `pay_turns` was given is not a finite number that float32 can hold."""


def pay_turns(transition: Transition, values: Sequence[float]) -> torch.Tensor:
    """A payment for each turn that ended in this step, as a float64 tensor (B,) with 0 in all other rows.

    Args:
        values: as many as `transition.rows` has entries, in the same order: value i is for `transition.completions[i]`.

    Raises:
        UnpayableTurn: a value is not a finite number; the env adds the reward's name to the message.
    """
    device = transition.actions.device
    paid = torch.zeros(len(transition.actions), dtype=torch.float64, device=device)
    if len(transition.rows):
        where = torch.as_tensor(transition.rows, device=device)
        paid[where] = torch.tensor([_payable(value) for value in values], dtype=torch.float64, device=device)
    return paid


def _payable(value: Any) -> float:
    number = as_finite(value)
    if number is None:
        raise UnpayableTurn(f"pays {shown(value)} for a turn: {RULE}")
    return number
