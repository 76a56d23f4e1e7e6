"""Potential-based reward shaping: adds F = γΦ(s') - Φ(s), which keeps the optimal policy. Φ is 0 at terminal states.

    r + F,  F(s, s') = γ Φ(s') - Φ(s)    (Ng, Harada and Russell 1999, "Policy invariance under reward transformations")

Φ is what a reward would pay for the unfinished turn. Φ = 0 before a turn's first token and, as an episode's invariance
needs (Grześ 2017), where the episode is over, so Σ γᵗ F = -Φ(s₀) = 0: the discounted return is what it was.
"""

from __future__ import annotations

from typing import Any

import torch

from dyngen_env.mdp.state import TokenState
from dyngen_env.rewards.base import Constant, Reward, RewardContext, as_reward
from dyngen_env.rewards.transforms.unfinished import potential
from dyngen_env.rewards.transforms.wrapped import Wrapped
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Transition


class Shaping(Wrapped):
    """F alone, paid at each token; its sum over an episode, discounted by γ, is 0.

    A truncated episode is over, too: what its last turn earned is paid there, so Φ is 0.

    Args:
        potential: a reward that reads turns. One that reads the user's answer (`rating`) promises nothing before it.
        gamma: γ, the learner's.

    Raises:
        ValueError: gamma is not in [0, 1], or the potential pays by token, so that it is no function of the state.
    """

    label = "shaping"

    def __init__(self, potential: Any, gamma: float = 1.0):
        super().__init__(potential)
        if self.inner.per_token:
            raise ValueError(f"shaping needs a reward that is paid for turns: {self.inner.name!r} pays at each token")
        if not isinstance(gamma, int | float) or not 0 <= gamma <= 1:
            raise ValueError(f"gamma={gamma!r}: expected a number from 0 to 1, the learner's discount")
        self.gamma, self.per_token = float(gamma), True

    _tokenizer: Tokenizer | None = None
    _known: tuple[TokenState, torch.Tensor] | None = None  # the last s' and its Φ: mostly the next s

    def bind(self, context: RewardContext) -> Shaping:
        bound = super().bind(context)
        bound.per_token, bound._tokenizer, bound._known = True, context.tokenizer, None
        return bound

    def __call__(self, transition: Transition) -> torch.Tensor:
        before, after = self._potential(transition.before, transition), self._potential(transition.after, transition)
        self._known = (transition.after, after)
        return torch.where(transition.live, self.gamma * after - before, 0.0)

    def by_turns(self) -> Reward:
        """For γ = 1 nothing: over an episode F then adds up to 0."""
        return Constant(0.0, self.name) if self.gamma == 1 else self

    def _potential(self, state: TokenState, transition: Transition) -> torch.Tensor:
        """Φ (B,)."""
        if self._tokenizer is None:
            raise ValueError("shaping is not bound to an env: call bind(context) first")
        if self._known is not None and self._known[0] is state:
            return self._known[1]
        return potential(self.inner, state, transition, self._tokenizer)


class Dense(Wrapped):
    """A turn's reward paid as it is earned: at each token, how much the reward of the turn so far has grown.

    That is r + F with the reward itself as Φ and γ = 1, as one term; a turn's payments add up to r.
    """

    def __init__(self, reward: Any):
        super().__init__(reward)
        self.per_token, self.shaping = True, Shaping(self.inner)

    def bind(self, context: RewardContext) -> Dense:
        bound = super().bind(context)
        bound.per_token, bound.shaping = True, self.shaping.bind(context)
        return bound

    def by_turns(self) -> Reward:
        return self.inner

    def __call__(self, transition: Transition) -> torch.Tensor:
        at_the_end = self.inner(transition) if len(transition.rows) else 0.0
        return at_the_end + self.shaping(transition)


def shaped(reward: Any, potential: Any = None, gamma: float = 1.0) -> Reward:
    """`reward + Shaping(potential, gamma)`; without a potential, the reward is its own.

    `shaped(sentiment)` tells at each token whether it made the text better; `shaped(human_rating, keywords('plot'))`
    advises to mention the plot and pays for ratings alone.
    """
    reward = as_reward(reward)
    return reward + Shaping(reward if potential is None else potential, gamma)
