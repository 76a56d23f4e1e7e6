"""Recorded tokens that the agent of an env could not have chosen: their log-prob is -inf, which teaches nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from dyngen_agents.data.episode_store import EpisodeStore, StoredEpisode
from dyngen_agents.data.trajectories import Trajectories
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.distribution import TokenDistribution

SHOWN = 5  # tokens that a message names, the most frequent ones
AT_ONCE = 256  # episodes that are looked through together


def forbidden(batch: Trajectories, distribution: TokenDistribution) -> Tensor:
    """(N, L) bool: the choices of recorded episodes that an env's distribution leaves no probability: tokens that are
    not legal, or that complete a banned word, or that its vocabulary does not have."""
    assert distribution.legal is not None
    rows, columns = batch.completion_mask.nonzero(as_tuple=True)
    tokens = batch.tokens[rows, columns]
    chosen = tokens.clamp(max=len(distribution.legal) - 1)
    wrong = ~distribution.legal[chosen] | (chosen < tokens)
    if distribution.banned is not None:
        wrong |= distribution.banned.completes(distribution.banned.states(batch.tokens)[rows, columns - 1], chosen)
    return torch.zeros_like(batch.completion_mask).index_put((rows, columns), wrong)


class ForbiddenTokens:
    """Leaves out the episodes in which a forbidden token was chosen, and counts them.

    A run on what others have recorded, or people have rated, meets such tokens where its env bans words that theirs
    did not, and where an agent of no rules was recorded. Without its forbidden tokens an episode would be another one.

    Args:
        env: in which a policy learns from the episodes.

    Attributes:
        episodes: how many were left out. tokens: how often each forbidden token was chosen in them, by its id.
    """

    def __init__(self, env: TextGenVectorEnv):
        self.tokenizer, self.distribution = env.tokenizer, env.token_distribution().to("cpu")
        self.episodes, self.tokens = 0, Counter[int]()

    def without(self, episodes: Sequence[StoredEpisode]) -> list[StoredEpisode]:
        """Those of the episodes that the agent could have written."""
        kept: list[StoredEpisode] = []
        for start in range(0, len(episodes), AT_ONCE):
            some = episodes[start : start + AT_ONCE]
            batch = EpisodeStore(some).take(range(len(some)))
            wrong = forbidden(batch, self.distribution)
            self.tokens.update(batch.tokens[wrong].tolist())
            has_wrong = wrong.any(1).tolist()
            self.episodes += sum(has_wrong)
            kept += [episode for episode, out in zip(some, has_wrong, strict=True) if not out]
        return kept

    def __str__(self) -> str:
        """What was left out, in words."""
        named = ", ".join(f"{self._name(token)} {count} times" for token, count in self.tokens.most_common(SHOWN))
        more = f" and {len(self.tokens) - SHOWN} others" if len(self.tokens) > SHOWN else ""
        return f"{self.episodes} episodes with tokens that the agent may not write in this env ({named}{more})"

    def _name(self, token: int) -> str:
        if token >= len(self.tokenizer) or token in self.tokenizer.control_ids:
            return f"token {token}"
        return repr(self.tokenizer.token_bytes[token].decode("utf-8", "replace"))
