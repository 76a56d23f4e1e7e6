"""Potential-based reward shaping: adding F = γΦ(s') - Φ(s) keeps the optimal policy. Φ is 0 at terminal states.

    r + F,  F(s, s') = γ Φ(s') - Φ(s)    (Ng, Harada and Russell 1999, "Policy invariance under reward transformations")

Here Φ is what a reward would pay if the unfinished turn ended as it stands. It is 0 before a turn's first token, and
where the episode is over, which finite episodes need (Grześ 2017). So Σ γᵗ F = -Φ(s₀) = 0, and the discounted return
does not change.
"""

from __future__ import annotations

from typing import Any

import torch

from dyngen_env.mdp.state import TokenState
from dyngen_env.rewards.base import Constant, Reward, RewardContext, as_reward
from dyngen_env.rewards.parts import parts_of
from dyngen_env.rewards.transforms.unfinished import potential
from dyngen_env.rewards.transforms.wrapped import Wrapped
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Transition


class Shaping(Wrapped):
    """Potential-based reward shaping: F = γΦ(s') - Φ(s), paid at each token, keeps the optimal policy.

    This is the term F alone, to be added to a reward; discounted by γ it adds up to 0 over every episode. A truncated
    episode counts as over, with Φ = 0: what its last turn has earned is paid there.

    Args:
        potential: the reward whose value for the turn so far is Φ; it must score turns. One that depends on the user's
            answer, such as `rating`, has Φ = 0 before that answer, and so gives no advice.
        gamma: the discount γ of the learner.

    Raises:
        ValueError: gamma is not in [0, 1]; the potential pays by token, so that it is no function of the state; or it
            is what people say.
    """

    label = "shaping"

    def __init__(self, potential: Any, gamma: float = 1.0):
        super().__init__(potential)
        if self.inner.per_token:
            raise ValueError(f"shaping needs a reward that is paid for turns: {self.inner.name!r} pays at each token")
        if any(part.asks_people for part in parts_of(self.inner)):
            raise ValueError(
                f"{self.inner.name!r} is what people say, and nobody is asked about unfinished turns: leave it out of "
                "shaping, and pay it when turns end (--credit end)"
            )
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
        """With γ = 1 a reward of 0, since F then adds up to 0 over every episode."""
        return Constant(0.0, self.name) if self.gamma == 1 else self

    def _potential(self, state: TokenState, transition: Transition) -> torch.Tensor:
        """Φ (B,)."""
        if self._tokenizer is None:
            raise ValueError("shaping is not bound to an env: call bind(context) first")
        if self._known is not None and self._known[0] is state:
            return self._known[1]
        return potential(self.inner, state, transition, self._tokenizer)


class Dense(Wrapped):
    """A reward of turns paid token by token: at each token, by how much the reward of the turn so far has grown.

    That is r + F as one term, with r itself as the potential and γ = 1. A turn's payments add up to r.
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
    """Another reward with potential-based shaping: r + γΦ(s') - Φ(s), which keeps the optimal policy (Ng et al. 1999).

    `shaped(sentiment)` tells the agent at each token whether it has made the text better or worse. In
    `shaped(human_rating, keywords('plot'))` the shaping advises to mention the plot, while the return is that of
    `human_rating` alone.

    Args:
        reward: what is to be maximised: a reward, a number or a function of text.
        potential: the reward whose value for the unfinished turn is Φ; None is `reward` itself.
        gamma: the discount γ of the learner.

    Raises:
        ValueError: gamma is not in [0, 1], or the potential pays by token.
    """
    reward = as_reward(reward)
    return reward + Shaping(reward if potential is None else potential, gamma)
