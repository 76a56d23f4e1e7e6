"""An actor that values states by Monte-Carlo: from some that it comes by, it plays several episodes to their ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dyngen_agents.data.rollout import play_on
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import Action, CausalLMPolicy
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.mdp.state import TokenState
from dyngen_env.text.tokenizer import Tokenizer

BRANCH_SEED = 0x5EED_B4A2  # tells the branches' random numbers from the actor's own


@dataclass(frozen=True)
class BranchPoints:
    """Which states are valued: the first of each turn, and of those within a turn every n-th.

    Whether a state is one must follow from what stands in it. If the token that is chosen next had a say, the value
    would be no baseline: it would depend on the action, and the policy's gradient would be biased.

    Args:
        unit: "tokens": every state is counted. "words": those after a token with white space in it, by which a word has
            ended or begun. "turns": none within a turn.
        every: n.
    """

    unit: Literal["tokens", "words", "turns"]
    every: int

    def at(self, state: TokenState, borders: Tensor) -> Tensor:
        """(B,) bool: whether each row of a state is valued. borders: (V,) bool, see `word_borders`."""
        written = state.length - state.turn_start
        if self.unit == "turns":
            return written == 0
        if self.unit == "tokens":
            return written % self.every == 0
        position = torch.arange(state.tokens.shape[1], device=state.tokens.device)
        in_turn = (position >= state.turn_start.unsqueeze(1)) & (state.tokens >= 0)
        passed = borders[state.tokens.clamp(0, len(borders) - 1)] & in_turn  # (B, L); media have numbers of their own
        last = passed.gather(1, state.length.unsqueeze(1) - 1).squeeze(1)
        return (written == 0) | (last & (passed.sum(1) % self.every == 0))


def word_borders(tokenizer: Tokenizer) -> Tensor:
    """(V,) bool: tokens with white space in them, such as " film" of GPT-2's tokenizer."""
    return torch.tensor([any(byte in b" \t\n\r" for byte in piece) for piece in tokenizer.token_bytes])


class BranchingActor:
    """The behaviour policy of a rollout in which some states have a Monte-Carlo value.

        V̂(s) = 1/K Σ returns of K episodes that the policy plays on from s        (Kazemnejad et al. 2024, sec. 4)

    It is unbiased: it does not see how the episode itself goes on. The branches are played in forks of the env, by its
    rewards and its users, who have the chances that they will have in the episode: what tells a branch from it is the
    policy's doing. What the actor chooses, and its log-probs, are those of `actor`.

    Args:
        actor: who acts. env: in which it acts.
        count: K. points: which states are valued; others have the value NaN.
        returns: (N,) of N branches, what a learner makes of the rewards that they were paid from s on.

    Attributes:
        tokens: how many the branches have been given so far.

    Raises:
        ValueError: people would be asked about the branches.
    """

    def __init__(
        self,
        actor: Actor,
        env: TextGenVectorEnv,
        count: int,
        points: BranchPoints,
        returns: Callable[[Trajectories], Tensor],
    ):
        if env.asks_people:
            raise ValueError(
                "people would be asked about every branch that is played to value a state, and no branch is shown to "
                "anybody else: train ppo, or let a model of their ratings pay"
            )
        self.actor, self.env, self.count, self.points, self.returns = actor, env, count, points, returns
        self.borders = word_borders(env.tokenizer).to(env.device)
        self.branches = CausalLMPolicy(actor.policy.lm, actor.policy.distribution)  # with a cache of its own
        self.counted = np.ones(env.num_envs, dtype=bool)
        self.tokens = 0

    def heed(self, counted: np.ndarray) -> None:
        """Only states of rows whose episodes count, counted (B,) bool, are valued from now on."""
        self.counted = counted

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Action:
        """The next token of each row: tokens (B, L) int64, right-padded with -1; lengths (B,) int64."""
        valued = self.points.at(self.env.state, self.borders) & torch.from_numpy(self.counted).to(tokens.device)
        rows = valued.nonzero().squeeze(1)
        values = torch.full((len(tokens),), torch.nan, device=tokens.device)
        if len(rows):
            values[rows] = self.values(rows)
        return self.actor(tokens, lengths)._replace(values=values)

    def values(self, rows: Tensor) -> Tensor:
        """V̂ (R,) of rows (R,) of the env as they stand."""
        seed = (self.actor.seed ^ BRANCH_SEED) + 1_000_003 * self.actor.step
        state, found = self.env.state, []
        for some in rows.split(max(1, self.env.num_envs // self.count)):  # memory stays that of a rollout
            self.branches.engine.next_hidden(state.tokens[some], state.length[some])  # what a state's branches share
            self.branches.engine.fork(torch.arange(len(some), device=some.device).repeat_interleave(self.count))
            branches, copies = some.repeat_interleave(self.count), torch.arange(self.count, device=some.device)
            # A number for each branch of each row of the env: what is drawn does not depend on which rows are valued.
            numbers = branches + copies.repeat(len(some)) * len(self.counted)
            actor = Actor(self.branches, seed, processes=self.actor.processes, rows=numbers)
            played = play_on(self.env.fork(branches.tolist()), actor)
            self.tokens += int(played.completion_mask.sum())
            found.append(self.returns(played).view(-1, self.count).mean(1))
        return torch.cat(found)
