"""The action space of an env: `Discrete(V)` that also says what a policy built from spaces alone must know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium import spaces


class TokenSpace(spaces.Discrete):
    """The next token, one of V.

    Stable-Baselines3 shows a policy the spaces of its env and nothing else. To every library this is a `Discrete`;
    a policy of ours reads the attributes. Spaces with different banned words are not equal, so an agent that was saved
    is not loaded into an env with other bans.

    Args:
        vocabulary: V.
        context: L, how many tokens an observation has: a longer one comes from a wrapper that stacks them.
        banned: the words that may not be written.
        shows_media: whether observations show pictures or sounds, of which their tokens say nothing.
    """

    def __init__(self, vocabulary: int, context: int, banned: Sequence[str] = (), shows_media: bool = False):
        super().__init__(vocabulary)
        self.context, self.banned, self.shows_media = context, tuple(banned), shows_media

    def __eq__(self, other: Any) -> bool:
        return super().__eq__(other) and getattr(other, "banned", ()) == self.banned

    def __repr__(self) -> str:
        return f"Discrete({self.n}, {len(self.banned)} banned words)" if self.banned else super().__repr__()
