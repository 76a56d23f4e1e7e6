"""A reward is a small named function of a transition; sums keep their parts apart, so an episode can say what it paid.

reward = Sentiment() + 0.1 * Fluency("reviews-lm") - 0.5 * Repetition()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from numbers import Real
from typing import Any

import torch

from dyngen_env.mdp.state import ILLEGAL
from dyngen_env.rewards.arguments import arguments_of, turn_values
from dyngen_env.rewards.finite import LARGEST, RULE, as_finite, shown
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Dialogue, Example, Transition


@dataclass(frozen=True)
class RewardContext:
    """What an env tells its rewards when it is built: its model's name (None if it has none), tokenizer, device."""

    model: str | None
    tokenizer: Tokenizer
    device: torch.device


class Reward:
    """Pays for transitions: `reward(transition) -> (B,) float tensor`.

    A subclass sets `name` and writes `__call__`. `per_token` says whether it pays while a turn goes on; if not, it is
    only called on steps in which some turn ended. `held_until` ("turn", "episode") lets the env pay later (`delay.py`).
    """

    name: str = "reward"
    per_token: bool = False
    held_until: str | None = None

    def __call__(self, transition: Transition) -> torch.Tensor:
        raise NotImplementedError

    def bind(self, context: RewardContext) -> Reward:
        """The reward as this env uses it. Models are loaded at the first call, not here.

        A fork of the env binds the bound reward again: what it remembers must not be shared.
        """
        return self

    def by_turns(self) -> Reward:
        """A reward with the same sum over every episode that is paid at the ends of turns, or itself if there is none.

        For whoever needs sums alone, as `dyngen rescore` does: it saves a look at every token.
        """
        return self

    def terms(self) -> list[tuple[float, Reward]]:
        """The parts of the sum and their scales. The reward of a transition is Σ scale · part."""
        return [(1.0, self)]

    def __add__(self, other: Any) -> Reward:
        return Sum([*self.terms(), *as_reward(other).terms()])

    def __radd__(self, other: Any) -> Reward:
        return as_reward(other) + self

    def __sub__(self, other: Any) -> Reward:
        return self + -1.0 * as_reward(other)

    def __rsub__(self, other: Any) -> Reward:
        return as_reward(other) - self

    def __neg__(self) -> Reward:
        return -1.0 * self

    def __mul__(self, other: Any) -> Reward:
        if isinstance(other, Real):
            scale = as_finite(other)
            if scale is None:
                raise ValueError(f"reward {self.name!r} is multiplied by {shown(other)}: {RULE}")
            return Sum([(scale * own, part) for own, part in self.terms()])
        return Product(self, as_reward(other))

    def __rmul__(self, other: Any) -> Reward:
        return self * other if isinstance(other, Real) else as_reward(other) * self


class Sum(Reward):
    """Σ scale · part. Each part is reported under its own name; a second equal name gets `_2`."""

    def __init__(self, terms: Sequence[tuple[float, Reward]]):
        self._terms = list(terms)
        self.name = " + ".join(part.name for _, part in self._terms)
        self.per_token = any(part.per_token for _, part in self._terms)

    def __call__(self, transition: Transition) -> torch.Tensor:
        return torch.stack([scale * part(transition) for scale, part in self._terms]).sum(0)

    def bind(self, context: RewardContext) -> Reward:
        return Sum([(scale, part.bind(context)) for scale, part in self._terms])

    def by_turns(self) -> Reward:
        return Sum([(scale, part.by_turns()) for scale, part in self._terms])

    def terms(self) -> list[tuple[float, Reward]]:
        return self._terms


class Product(Reward):
    """The product of two rewards on each step; one term."""

    def __init__(self, left: Reward, right: Reward):
        if any(part.held_until for side in (left, right) for _, part in side.terms()):
            raise ValueError("a product with a delayed reward: delay last, as in delayed(length*sentiment)")
        self.left, self.right = left, right
        self.name = "*".join(f"({p.name})" if len(p.terms()) > 1 else p.name for p in (left, right))
        self.per_token = left.per_token and right.per_token

    def __call__(self, transition: Transition) -> torch.Tensor:
        return self.left(transition) * self.right(transition)

    def bind(self, context: RewardContext) -> Reward:
        return Product(self.left.bind(context), self.right.bind(context))


class Constant(Reward):
    """The same for every turn, paid at its end.

    Raises:
        ValueError: the number is not finite, or beyond float32.
    """

    def __init__(self, value: float, name: str = "constant"):
        number = as_finite(value)
        if number is None:
            raise ValueError(f"a constant reward of {shown(value)}: {RULE}")
        self.value, self.name = number, name

    def __call__(self, transition: Transition) -> torch.Tensor:
        return transition.turn_ended * self.value


class TextReward(Reward):
    """A function that scores the agent's turn, called when the turn has ended: `f(text) -> float`.

    It gets its arguments by name, as many as it asks for: `text`, what the agent wrote in the turn; `prompt`, what the
    episode was begun with; `reference`, the answer that came with the prompt, or None; `example`, both together
    and other facts (`Example`); `dialogue`, all turns with the user's answers (`Dialogue`), None where no user answers.
    `rewards.arguments.arguments_of` says what happens to other names.

    Args:
        name: of the term in `info["reward_terms"]`; None is the function's own.

    Raises:
        TypeError: the function requires an argument of another name.
        ValueError: when it is called, if it does not return a finite number.
    """

    def __init__(self, function: Callable[..., float], name: str | None = None):
        self.function = function
        # Without leading underscores: infos call their masks `_name`.
        self.name = name or getattr(function, "__name__", type(function).__name__).strip("<>").lstrip("_") or "reward"
        self._arguments = arguments_of(function)

    def __call__(self, transition: Transition) -> torch.Tensor:
        turns = zip(transition.completions, transition.examples, transition.dialogues, strict=True)
        return pay_turns(transition, [self._score(*turn) for turn in turns])

    def _score(self, text: str, example: Example, dialogue: Dialogue | None) -> float:
        value = self._arguments.call(self.function, turn_values(text, example, dialogue))
        number = as_finite(value)
        if number is None:
            raise ValueError(f"reward {self.name!r} returned {shown(value)} for {text[:60]!r}: {RULE}")
        return number


class IllegalToken(Reward):
    """1 where the agent chose a token that is not legal, which ends the episode.

    Every env subtracts it once; `reward="sentiment - 5*illegal"` sets another price.
    """

    name = "illegal"

    def __call__(self, transition: Transition) -> torch.Tensor:
        return (transition.turn_ended & (transition.spoken.finish == ILLEGAL)).double()


def with_price_of_illegal(reward: Reward) -> tuple[Reward, str | None]:
    """`reward - illegal`, and the name of the added term; a reward that has a part `illegal` itself as it is, and None.

    This is what every env pays, so that no agent gains by ending an episode with a token that is not legal.
    """
    if any(isinstance(part, IllegalToken) for _, part in reward.terms()):
        return reward, None
    whole = reward - IllegalToken()
    return whole, term_names(whole.terms())[-1]


def as_reward(value: Any) -> Reward:
    """A reward from a reward, a number, or a function of text as `TextReward` takes it.

    Raises:
        TypeError: none of these, or a function that requires something else.
    """
    if isinstance(value, Reward):
        return value
    if isinstance(value, type) and issubclass(value, Reward):
        raise TypeError(f"a reward is an object: write {value.__name__}(...), not the class {value.__name__}")
    if isinstance(value, Real) and not isinstance(value, bool):
        return Constant(value)  # type: ignore[arg-type]  # mypy takes no float for a Real
    if callable(value):
        return TextReward(value)
    raise TypeError(
        f"a reward is a name or an expression in a string, a Reward, or a function f(text) -> float; got {value!r}"
    )


def payment(part: Reward, transition: Transition) -> torch.Tensor:
    """(B,) float64: what a reward pays for a transition.

    Raises:
        ValueError: it pays something else than B finite numbers that float32 can hold; the message names it.
    """
    paid = amounts_of(part, transition)
    check_payable(paid.unsqueeze(1), [part.name])
    return paid


def amounts_of(part: Reward, transition: Transition) -> torch.Tensor:
    """`payment`, but whether the numbers are finite is left to `check_payable`, which reads them on the host."""
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
    """(B,) float64: values (one for each of `transition.rows`) in their rows, zero elsewhere.

    Raises:
        UnpayableTurn: a value is not a number; the env adds the reward's name to the error.
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


def term_names(terms: Sequence[tuple[float, Reward]]) -> list[str]:
    """The names under which terms are reported: a second equal name gets `_2`, a third `_3`."""
    names: list[str] = []
    for _, part in terms:
        candidates = (part.name if n == 1 else f"{part.name}_{n}" for n in count(1))
        names.append(next(name for name in candidates if name not in names))
    return names
