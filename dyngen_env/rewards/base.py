"""The protocol of a reward, which is a named function of a transition, and the algebra that combines rewards.

    reward = Sentiment() + 0.1 * Fluency("reviews-lm") - 0.5 * Repetition()

A sum keeps its terms apart, so that the end of an episode can report what each of them has paid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from numbers import Real
from typing import Any

import torch

from dyngen_env.mdp.state import ILLEGAL
from dyngen_env.rewards.arguments import arguments_of, turn_values
from dyngen_env.rewards.finite import RULE, as_finite, shown
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.text.media import NO_MEDIA, MediaRoom
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Dialogue, Example, Transition


@dataclass(frozen=True)
class RewardContext:
    """What an env tells its rewards when it is built.

    Attributes:
        model: the name of the env's language model; None if it has only a tokenizer.
        tokenizer: the env's.
        device: where the env's tensors are, and where models should run.
        user_answers: whether somebody answers the agent, and may rate its turns.
        media: the pictures and sounds that contexts may show. places: how many tokens one takes there, by kind.
    """

    model: str | None
    tokenizer: Tokenizer
    device: torch.device
    user_answers: bool = True
    media: MediaRoom = NO_MEDIA
    places: Mapping[str, int] = field(default_factory=dict)


class Reward:
    """What is paid for a step of B rows: `reward(transition)` returns a float tensor (B,).

    A subclass sets `name` and implements `__call__`. What it returns must be finite; rows whose episode was over before
    the step are paid nothing, whatever it returns for them. A reward of texts scores `transition.completions`, the
    turns that ended in this step, and puts the scores into their rows by `pay_turns`.

    Attributes:
        name: the term of `info["reward_terms"]` that reports what it has paid over an episode.
        per_token: whether it pays while a turn is being written. If not, it is called only in steps in which at least
            one row's turn has ended.
        every_step: whether what it pays depends on which turns end in the same step. If so, no row may wait for others
            in a rollout.
        held_until: None for a reward that is paid when it is earned. "turn" and "episode" have the env keep back what
            is earned until then, as `delayed` does.
        on_tokens: whether it can be computed on a GPU without the host: it reads the tensors of the transition and
            nothing else, neither `rows` nor text, by the same operations whatever is in them, so that a CUDA graph can
            hold it, and returns 0 where no turn ended unless it pays per token. Such a reward never makes a step wait.
        asks_people: whether people are asked about turns. Then no unfinished turn is scored, as shaping would, and runs
            draw no samples and no evaluation by it unless they are told to.
        cheap: whether scoring a text costs so little, some microseconds, that the text so far may be scored after every
            token.
        prices_illegal: whether it is the price of illegal tokens, which then need no other.
    """

    name: str = "reward"
    per_token: bool = False
    every_step: bool = False
    on_tokens: bool = False
    held_until: str | None = None
    asks_people: bool = False
    cheap: bool = False
    prices_illegal: bool = False

    def __call__(self, transition: Transition) -> torch.Tensor:
        raise NotImplementedError

    def bind(self, context: RewardContext) -> Reward:
        """The reward as the env of this context uses it. By default that is this very object, for a reward that needs
        nothing of the env.

        A reward that remembers something between steps returns a copy: one object may be given to several envs, and a
        fork of an env binds the bound reward again. Models are loaded at the first call, not here.
        """
        return self

    def by_turns(self) -> Reward:
        """A reward that pays only when turns end and has the same sum over every episode; itself if there is none.

        It is for those who need no more than the sums, such as `dyngen rescore`, and saves them a call for each token.
        """
        return self

    def terms(self) -> list[tuple[float, Reward]]:
        """The terms of the sum that this reward is, each with its weight: it pays Σ weight · term."""
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
    """A weighted sum of rewards, Σ weight · term. Each term is reported under its own name, to which `_2` is added
    where another term has it already.

    Args:
        terms: pairs of a weight and a reward.
    """

    def __init__(self, terms: Sequence[tuple[float, Reward]]):
        self._terms = list(terms)
        self.name = " + ".join(part.name for _, part in self._terms)
        self.per_token = any(part.per_token for _, part in self._terms)
        self.every_step = any(part.every_step for _, part in self._terms)
        self.on_tokens = all(part.on_tokens for _, part in self._terms)

    def __call__(self, transition: Transition) -> torch.Tensor:
        return torch.stack([scale * part(transition) for scale, part in self._terms]).sum(0)

    def bind(self, context: RewardContext) -> Reward:
        return Sum([(scale, part.bind(context)) for scale, part in self._terms])

    def by_turns(self) -> Reward:
        return Sum([(scale, part.by_turns()) for scale, part in self._terms])

    def terms(self) -> list[tuple[float, Reward]]:
        return self._terms


class Product(Reward):
    """The product of what two rewards pay in each step. It is reported as one term, such as "length*sentiment".

    Raises:
        ValueError: one of the two is delayed: then its factors would fall into different steps.
    """

    def __init__(self, left: Reward, right: Reward):
        if any(part.held_until for side in (left, right) for _, part in side.terms()):
            raise ValueError("a product with a delayed reward: delay last, as in delayed(length*sentiment)")
        self.left, self.right = left, right
        self.name = "*".join(f"({p.name})" if len(p.terms()) > 1 else p.name for p in (left, right))
        self.per_token = left.per_token and right.per_token
        self.every_step = left.every_step or right.every_step
        self.on_tokens = left.on_tokens and right.on_tokens

    def __call__(self, transition: Transition) -> torch.Tensor:
        return self.left(transition) * self.right(transition)

    def bind(self, context: RewardContext) -> Reward:
        return Product(self.left.bind(context), self.right.bind(context))


class Constant(Reward):
    """The same amount for every turn of the agent, paid when the turn ends.

    Raises:
        ValueError: the number is not finite, or beyond float32.
    """

    on_tokens = True

    def __init__(self, value: float, name: str = "constant"):
        number = as_finite(value)
        if number is None:
            raise ValueError(f"a constant reward of {shown(value)}: {RULE}")
        self.value, self.name = number, name

    def __call__(self, transition: Transition) -> torch.Tensor:
        return transition.turn_ended * self.value


class TextReward(Reward):
    """A function of text as a reward: `f(text) -> float` is called when a turn has ended, and scores that turn.

    The function gets its arguments by name, as many of these as it asks for: `text`, what the agent wrote in the turn;
    `prompt`, the text that the episode began with; `reference`, the answer that came with the prompt, or None;
    `example`, the `Example` that holds both; `dialogue`, the `Dialogue` of all turns and the user's answers, or None
    where no user answers. `rewards.arguments.arguments_of` says what happens to arguments of other names.

    Args:
        function: the score. name: of the term in `info["reward_terms"]`; None takes the function's own name.

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
        try:
            value = self._arguments.call(self.function, turn_values(text, example, dialogue))
        except Exception as error:
            error.add_note(f"in the reward function {self.name!r}, which was to score {text[:60]!r}")
            raise
        number = as_finite(value)
        if number is None:
            raise ValueError(f"reward {self.name!r} returned {shown(value)} for {text[:60]!r}: {RULE}")
        return number


class IllegalToken(Reward):
    """1 in the step in which the agent chose a token that is not legal, which ends the episode; otherwise 0.

    Every env subtracts it once, so that such a token costs 1. A reward that names it sets another price:
    `"sentiment - 5*illegal"`.
    """

    name = "illegal"
    on_tokens = True
    prices_illegal = True

    def __call__(self, transition: Transition) -> torch.Tensor:
        return (transition.turn_ended & (transition.spoken.finish == ILLEGAL)).double()


def with_price_of_illegal(reward: Reward) -> tuple[Reward, str | None]:
    """The reward that an env pays: `reward - illegal`, so that no agent gains by ending an episode with such a token.

    Returns:
        That sum and the name of the term that was added. A reward that has a term `illegal` of its own comes back as it
        is, with None.
    """
    if any(part.prices_illegal for _, part in reward.terms()):
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


def term_names(terms: Sequence[tuple[float, Reward]]) -> list[str]:
    """The names under which terms are reported. Of equal names the second gets `_2` at its end, the third `_3`."""
    names: list[str] = []
    for _, part in terms:
        candidates = (part.name if n == 1 else f"{part.name}_{n}" for n in count(1))
        names.append(next(name for name in candidates if name not in names))
    return names
