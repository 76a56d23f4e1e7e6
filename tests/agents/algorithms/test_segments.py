"""Learning from episodes whose context was cut: as from uncut ones where nothing was lost, and towards the optimum."""

from __future__ import annotations

import copy
import zlib
from dataclasses import replace

import pytest
import torch

from dyngen_agents.algorithms.grpo import GRPO, GRPOConfig
from dyngen_agents.algorithms.ppo import PPO, PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCE, REINFORCEConfig
from dyngen_agents.data.segments import Columns
from dyngen_agents.data.shared_rollout import collect_together
from dyngen_agents.functional.returns import gae
from dyngen_agents.policy.reference import Reference
from dyngen_env.types import Feedback
from tests.support.envs import Talker
from tests.support.small import small_env, small_policy
from tests.support.tiny_mdp import tiny_env, tiny_policy

BETA = 0.3


def split(batch):
    """The same episodes, cut before each turn but the first, with nothing dropped: a token row for each turn."""
    rows, starts = [], []
    for i, length in enumerate(batch.lengths.tolist()):
        mask = batch.completion_mask[i]
        begins = [p for p in range(1, length) if mask[p] and not mask[p - 1]]
        ends = [*begins[1:], length]
        parts = []
        for begin, end in zip(begins, ends, strict=True):
            turn = torch.arange(end) >= begin
            columns = (x[i, :end] for x in (batch.tokens, mask[None].expand(len(batch), -1), batch.logprobs,
                                            batch.values, batch.rewards))  # fmt: skip
            tokens, chosen, *numbers = columns
            parts.append(Columns(tokens, chosen & turn, *(x * turn for x in numbers)))
        rows.append([torch.cat(x) for x in zip(*parts, strict=True)])
        starts.append([sum(ends[:k]) for k in range(len(ends))])
    padded = [
        torch.nn.utils.rnn.pad_sequence(list(x), batch_first=True, padding_value=-1 if k == 0 else 0)
        for k, x in enumerate(zip(*rows, strict=True))
    ]
    return replace(batch, **Columns(*padded)._asdict(), starts=starts)


ALGORITHMS = {
    "ppo": (PPO, PPOConfig(minibatch_size=4, epochs=2, gae_lambda=0.9, gamma=0.97)),
    "ppo, exact KL": (PPO, PPOConfig(minibatch_size=8, epochs=1, kl_estimator="exact", scale_values=True)),
    "grpo": (GRPO, GRPOConfig(minibatch_size=4, group_size=2, loss_normalisation="sequence")),
    "reinforce": (REINFORCE, REINFORCEConfig(baseline="rloo", group_size=2, gamma=0.97)),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_where_nothing_was_lost_an_update_is_that_of_the_uncut_episodes(name):
    kind, config = ALGORITHMS[name]
    user = Talker((Feedback("aa", 1.0), Feedback("eb", -1.0)))
    env = small_env(8, user=user, max_turns=3, max_new_tokens=4, max_context_tokens=48).unwrapped
    after = []
    for cut in (False, True):
        policy = small_policy(env)
        reference = Reference(small_policy(env, seed=1).lm, policy.distribution)
        learner = kind(policy, reference, config, total_updates=2, episodes=8)
        batch = collect_together(env, learner.actor, 8, seed=0, actor_seed=0, group_size=2)
        metrics = learner.update(split(batch) if cut else batch)
        after.append((metrics, {n: x.clone() for n, x in policy.state_dict().items()}))
    (plain, weights), (cut, cut_weights) = after
    assert plain.keys() == cut.keys()
    for key in plain:
        assert cut[key] == pytest.approx(plain[key], abs=2e-4, rel=2e-3), key
    untrained = small_policy(env).state_dict()
    for key in weights:
        torch.testing.assert_close(cut_weights[key], weights[key], atol=2e-5, rtol=1e-4)
    assert any(not torch.allclose(weights[key], untrained[key], atol=1e-4) for key in weights)


def test_advantages_across_a_cut_are_those_of_the_uncut_episode():
    user = Talker((Feedback("aa"), Feedback("eb")))
    env = small_env(8, user=user, max_turns=3, max_new_tokens=4, max_context_tokens=48).unwrapped
    policy = small_policy(env)
    batch = collect_together(env, PPO(policy, Reference(policy.lm, policy.distribution)).actor, 8, seed=0, actor_seed=0)
    batch = replace(batch, values=torch.randn(batch.tokens.shape) * batch.completion_mask, bootstrap=torch.randn(8))
    cut = split(batch)
    assert cut.tokens.shape[1] > batch.tokens.shape[1]
    for mine, theirs in zip(
        gae(cut.rewards, cut.values, cut.bootstrap, cut.completion_mask, 0.9, 0.8),
        gae(batch.rewards, batch.values, batch.bootstrap, batch.completion_mask, 0.9, 0.8),
        strict=True,
    ):
        assert torch.equal(mine[cut.completion_mask], theirs[batch.completion_mask])  # row by row, in order


def taste(text: str) -> float:
    """Anything from 0 to 1, another number for each text."""
    return zlib.crc32(text.encode()) / 2**32


# The user's words tell the turn, so that what is left of a context after a cut is a Markov state.
TURNS = Talker((Feedback("a"), Feedback("b"), Feedback("aa")))
SHORT = dict(user=TURNS, max_new_tokens=1, max_turns=3, max_context_tokens=11, context_overflow="drop_oldest")


def tree(**options):
    """Every state of a tiny env in which the agent chooses, level by level.

    Returns:
        levels of (tokens (N, L), lengths (N,), rewards (N, A), child (N, A): a state of the next level, or -1)
    """
    env = tiny_env(1, reward=taste, **options, autoreset_mode="disabled")
    env.reset(seed=0)
    legal = env.legal_tokens().nonzero().flatten()
    levels = []
    while True:
        tokens, lengths, rows = env.state.tokens, env.state.length, env.num_envs
        env = env.fork(torch.arange(rows).repeat_interleave(len(legal)).tolist())
        rewards = env.step(legal.repeat(rows))[1].double()
        live = env.state.live
        child = torch.where(live, live.cumsum(0) - 1, -1)
        levels.append((tokens, lengths, rewards.view(rows, -1), child.view(rows, -1)))
        if not live.any():
            return legal, levels
        env = env.fork(live.nonzero().flatten().tolist())


@torch.no_grad()
def choices(lm, tokens, lengths, legal):
    """log π (N, A) of the legal tokens in each state, by transformers alone."""
    logits = lm(tokens.clamp(min=0)).logits[torch.arange(len(tokens)), lengths - 1][:, legal]
    return logits.double().log_softmax(1)


def objective(lm, ref, legal, levels):
    """E[R] - β KL(π‖π_ref) of a policy, and of the best one there is, from the last level to the first."""
    ours = best = torch.zeros(0, dtype=torch.float64)
    for tokens, lengths, rewards, child in reversed(levels):
        logp, logref = (choices(model, tokens, lengths, legal) for model in (lm, ref))

        def then(value, child=child, rewards=rewards):
            follows = value[child.clamp(min=0)] if len(value) else torch.zeros_like(rewards)
            return rewards + torch.where(child >= 0, follows, 0.0)

        ours = (logp.exp() * (then(ours) - BETA * (logp - logref))).sum(1)
        best = BETA * torch.logsumexp(logref + then(best) / BETA, 1)
    return float(ours), float(best)


FAST = dict(warmup_steps=2, kl_coef=BETA)
CLIPPED = dict(FAST, learning_rate=3e-3, minibatch_size=64, epochs=4)
LEARNERS = {
    "ppo": (PPO, PPOConfig(**CLIPPED), 16),
    "grpo": (GRPO, GRPOConfig(**CLIPPED, group_size=8), 16),
    "reinforce": (REINFORCE, REINFORCEConfig(**FAST, learning_rate=1e-2, baseline="batch"), 30),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_the_optimum_of_a_forgetful_agent_is_found(name):
    """The best policy that sees no more than the cut context: by going through all states (Todorov 2009, eq. 5)."""
    kind, config, updates = LEARNERS[name]
    legal, levels = tree(**SHORT)
    env = tiny_env(64, reward=taste, **SHORT)
    policy = tiny_policy(env)
    reference = Reference(copy.deepcopy(policy.lm), policy.distribution)
    learner = kind(policy, reference, config, total_updates=updates, episodes=64)
    before, best = objective(policy.lm, reference.lm, legal, levels)
    cut = 0
    for update in range(updates):

        def play(actor, *, group_size=1, bootstrap=None):
            seeds = dict(seed=10**4 * update, actor_seed=10**4 * update)  # noqa: B023
            return collect_together(env, actor, 64, **seeds, group_size=group_size)

        batch = learner.experience(play)
        cut += sum(len(starts) > 1 for starts in batch.starts)
        learner.update(batch)
    after, _ = objective(policy.lm, reference.lm, legal, levels)
    assert cut == 64 * updates
    assert (best - before) / BETA > 0.5, "there is something to learn"
    assert best - after < 0.1 * (best - before)
