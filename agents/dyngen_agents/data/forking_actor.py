"""An actor that, before each token, looks ahead: it writes several ends to each row's turn and has them scored."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dyngen_agents.data.judged_texts import JudgedTexts
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import Action, CausalLMPolicy
from dyngen_env import mdp
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.discriminators.reading import as_read

BRANCH_SEED = 0x5EED_F04C  # tells the branches' random numbers from the actor's own


class ForkingActor:
    """The behaviour policy of a rollout whose values are Monte-Carlo estimates, V(s) = E[score of the finished turn].

    Before each choice every row is forked `count` times, and the policy writes each branch to the end of its turn, as
    in SeqGAN (Yu et al. 2017, eq. 4), there by a policy that lags behind the one that learns. The branches are forks of
    the env's state which its rules alone go on with: neither users nor rewards are asked. What the actor chooses, and
    its log-probs, are those of `actor`.

    Args:
        actor: who acts. env: in which it acts.
        score: the probabilities (N,) of finished texts.
        count: branches of each row.
        reads_prompt: whether the texts are all tokens up to the turn's end, or the turn's alone.
    """

    def __init__(
        self,
        actor: Actor,
        env: TextGenVectorEnv,
        score: Callable[[JudgedTexts], Tensor],
        count: int,
        reads_prompt: bool,
    ):
        self.actor, self.env, self.score, self.count, self.reads_prompt = actor, env, score, count, reads_prompt
        policy = actor.policy
        self.branches = CausalLMPolicy(policy.lm, policy.distribution)  # with a cache of its own

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Action:
        """The next token of each row: tokens (B, L) int64, right-padded with -1; lengths (B,) int64."""
        values = self.values()
        return self.actor(tokens, lengths)._replace(values=values)

    @torch.no_grad()
    def values(self) -> Tensor:
        """V (B,) of the env's rows as they stand: the mean score over the branches of each."""
        env, rows = self.env, torch.arange(self.env.num_envs, device=self.env.device)
        state = mdp.fork(env.state, rows.repeat_interleave(self.count))
        seed = (self.actor.seed ^ BRANCH_SEED) + 1_000_003 * self.actor.step
        actor = Actor(self.branches, seed, processes=self.actor.processes)
        for _ in range(env.max_new_tokens):
            if not bool(state.live.any()):
                break
            state = mdp.append(state, actor(state.tokens, state.length).tokens, env.rules)
        begin = torch.zeros_like(state.turn_start) if self.reads_prompt else state.turn_start
        read = as_read(state.tokens, begin, state.length, env.tokenizer.end_ids)
        return self.score(JudgedTexts(read, state.turn_start - begin)).view(-1, self.count).mean(1)
