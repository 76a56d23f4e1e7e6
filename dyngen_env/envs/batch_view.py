"""What may be asked of a batch of rows between two steps: its state, what each row plays, which tokens are legal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ResetNeeded

from dyngen_env.envs.media import ShownMedia
from dyngen_env.envs.mixture.source import MixedSource
from dyngen_env.envs.parts import EnvParts
from dyngen_env.envs.reward_ledger import RewardLedger
from dyngen_env.envs.row_state import RowState
from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution
from dyngen_env.mdp.banned import BannedWords
from dyngen_env.mdp.dynamics import Rules
from dyngen_env.mdp.state import ILLEGAL, TokenState
from dyngen_env.rewards import Reward
from dyngen_env.rewards.parts import parts_of
from dyngen_env.tasks import Task
from dyngen_env.types import Dialogue, Example


class BatchView(gym.vector.VectorEnv):
    """What agents, wrappers and rollouts ask about B rows, or say about their next episodes. Nothing changes a row."""

    banned: BannedWords | None
    task: Task
    _parts: EnvParts
    _ledger: RewardLedger
    _rows: RowState
    _begun: bool  # whether there has been a reset

    @property
    def state(self) -> TokenState:
        """The batch's state. Frozen: do not write to its tensors.

        Raises:
            ResetNeeded: before the first reset.
        """
        return self._playing().state

    def _playing(self) -> RowState:
        if not self._begun:
            raise ResetNeeded("the env has not been reset: call reset() first")
        return self._rows

    @property
    def reward(self) -> Reward:
        """What is paid, bound to this env, the price of illegal tokens included."""
        return self._ledger.reward

    @property
    def asks_people(self) -> bool:
        """Whether people are asked about what is written here: by a part of the reward, or as the user."""
        user: Any = self._parts.user
        while hasattr(user, "user"):  # one who changes another
            user = user.user
        return getattr(user, "asks_people", False) or any(part.asks_people for part in parts_of(self.reward))

    @property
    def reward_names(self) -> list[str]:
        """What the terms of the reward are called in `info["reward_terms"]`."""
        return self._ledger.names

    @property
    def examples(self) -> list[Example]:
        """What each row is playing."""
        return self._rows.examples.tolist()

    @property
    def dialogues(self) -> list[Dialogue | None]:
        """What each row's agent and user have said in the turns so far; None where nobody answers."""
        return self._rows.dialogues.tolist()

    @property
    def media(self) -> ShownMedia:
        """What a context may show beside words: `room` for how many and how large, and how many `places` one takes."""
        return self._parts.media

    @property
    def over(self) -> bool:
        """Whether some row has ended and awaits its reset."""
        return bool(self._rows.ended.any())

    def set_task_weights(self, weights: Mapping[str, float]) -> None:
        """From the next episodes on, play the tasks of a mixture as often as these weights say; its forks do not.

        Args:
            weights: of all its ids, each above 0.

        Raises:
            ValueError: other ids, a weight that is no number above 0, or an env that plays one task.
        """
        source = self._parts.source
        if not isinstance(source, MixedSource):
            raise ValueError(f"task weights {weights!r}: this env plays one task; mix several by dyngen_env.mix")
        self.task = source.mixture.with_weights(weights)
        self._parts = replace(self._parts, task=self.task, source=source.weighted(self.task))

    def action_masks(self) -> np.ndarray:
        """(V,) bool: the legal tokens. Text, end of turn and end of sequence are; BOS, PAD and role tokens are not.

        With `banned` words (B, V): in each row, tokens that would complete one are not legal either.
        """
        legal = self.legal_tokens()
        if self.banned is not None:
            legal = legal & self.banned.allowed(self.banned.state(self.state.tokens, self.state.length))
        return legal.numpy(force=True).copy()

    def legal_tokens(self) -> torch.Tensor:
        """(V,) bool on the env's device: the tokens that are legal but for `banned` words."""
        return self._parts.rules.outcome[0] != ILLEGAL

    @property
    def rules(self) -> Rules:
        """What each token does to a turn: with `mdp.append` an agent can look several tokens ahead."""
        return self._parts.rules

    def token_distribution(self, sampling: SamplingConfig | None = None) -> TokenDistribution:
        """The distribution of an agent that keeps to what may be written here: legal tokens, no banned words.

        Args:
            sampling: how it draws among them; None: with the model's own probabilities.
        """
        return TokenDistribution(self.legal_tokens(), self.banned, sampling or SamplingConfig())

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each row's generator. Episode seeds are taken from it in blocks (`seeding.EpisodeSeeds`)."""
        return self._rows.seeds.generators

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """What each row's generator was seeded with."""
        return self._rows.seeds.seeded_with
