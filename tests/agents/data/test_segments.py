"""Episodes whose context was cut: each choice stands where it was made, and is read as it was made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dyngen_agents.data.hindsight import hindsight_rows
from dyngen_agents.data.offline import record
from dyngen_agents.data.rollout import collect
from dyngen_agents.data.trajectories import join
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import Action
from dyngen_agents.trl.rollout import as_trl
from dyngen_env import Feedback
from tests.support.envs import Talker, random_actions
from tests.support.small import small_env, small_policy

CUTS = {
    "oldest turns": dict(context_overflow="drop_oldest", user=Talker((Feedback("?"), Feedback("ok"), Feedback("?")))),
    "hidden drafts": dict(
        drafts="hidden", max_context_tokens=64, user=Talker((Feedback("no", revise=True), Feedback("?"), Feedback("?")))
    ),
    "both": dict(
        context_overflow="drop_oldest", drafts="hidden",
        user=Talker((Feedback("a"), Feedback("no", revise=True), Feedback("b"), Feedback("no", revise=True))),
    ),
}  # fmt: skip


def cut_env(kind, num_envs=4, **options):
    return small_env(num_envs, **dict(max_turns=7, max_new_tokens=4, prompts=["x", "ab"], **CUTS[kind]) | options)


class Noted:
    """Writes at random, and keeps for each row what it has read and chosen, in order."""

    def __init__(self, rows):
        self.rng, self.seen = np.random.default_rng(0), [[] for _ in range(rows)]

    def __call__(self, tokens, lengths):
        actions = torch.from_numpy(random_actions(self.rng, len(tokens)))
        numbers = torch.from_numpy(self.rng.random((2, len(tokens)))).float()
        for row, context in enumerate(tokens):
            self.seen[row].append((context[: int(lengths[row])].tolist(), int(actions[row]), *numbers[:, row].tolist()))
        return Action(actions, *numbers)


@pytest.mark.parametrize("kind", CUTS)
def test_each_choice_stands_where_it_was_made(kind):
    env, actor = cut_env(kind), Noted(4)
    batch = collect(env, actor, 40, seed=0)
    assert sum(len(starts) > 1 for starts in batch.starts) > 5
    for row in range(4):
        noted = iter(actor.seen[row])
        for episode in range(10 * row, 10 * row + 10):
            starts = np.array(batch.starts[episode])
            for p in batch.completion_mask[episode].nonzero().flatten().tolist():
                begin = starts[starts <= p].max()
                context, action, logprob, value = next(noted)
                assert batch.tokens[episode, begin:p].tolist() == context
                assert int(batch.tokens[episode, p]) == action
                assert (float(batch.logprobs[episode, p]), float(batch.values[episode, p])) == (logprob, value)
            assert int(batch.rewards[episode][~batch.completion_mask[episode]].count_nonzero()) == 0
    paid = sum(batch.reward_terms.values())
    torch.testing.assert_close(batch.episode_returns, paid)
    agents = [sum(turn["role"] == "agent" for turn in dialogue) for dialogue in batch.dialogues]
    assert agents == turns_of(batch)


def turns_of(batch):
    """How many turns each episode has, by its mask: between two there always stands something else."""
    mask = batch.completion_mask.long()
    return (mask.diff(dim=1, prepend=torch.zeros(len(mask), 1, dtype=torch.long)) == 1).sum(1).tolist()


@pytest.mark.parametrize("kind", CUTS)
def test_the_policy_reads_it_as_it_acted(kind):
    env = cut_env(kind)
    policy = small_policy(env)
    batch = collect(env, Actor(policy, 0), 16, seed=0)
    assert any(len(starts) > 1 for starts in batch.starts)
    with torch.no_grad():
        read = batch.read(torch.arange(16), batch.tokens.shape[1], policy.evaluate)
    torch.testing.assert_close(read.logprobs, batch.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(read.values, batch.values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", CUTS)
def test_several_tokens_between_two_looks_give_the_same_episodes(kind):
    policy = small_policy(cut_env(kind))
    one, several = (collect(cut_env(kind), Actor(policy, 0), 12, seed=0, steps=steps) for steps in (None, 3))
    assert one.starts == several.starts and torch.equal(one.tokens, several.tokens)
    assert torch.equal(one.completion_mask, several.completion_mask)
    torch.testing.assert_close(one.logprobs, several.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(one.rewards, several.rewards)


def test_hindsight_stands_in_the_context_that_the_turn_had():
    env, actor = cut_env("oldest turns"), Noted(4)
    batch = collect(env, actor, 20, seed=0)
    rows = hindsight_rows(batch, env.unwrapped.tokenizer, window=64)
    read = [context for of_row in actor.seen for context, *_ in of_row]
    at = rows.completion_mask.int().argmax(1).tolist()
    cut = 0
    for tokens, first, episode, start in zip(
        rows.tokens.tolist(), at, rows.episodes.tolist(), rows.start.tolist(), strict=True
    ):
        begin = max(b for b in batch.starts[episode] if b < start)
        context = batch.tokens[episode, begin:start].tolist()
        assert context in read and tokens[: len(context)] == context and len(context) < first
        cut += begin > 0
    assert cut > 5


def test_parts_of_different_widths_are_joined_and_taken():
    env = cut_env("oldest turns")
    policy = small_policy(env)
    wide, narrow = (collect(env, Actor(policy, 0), 4, seed=seed) for seed in (0, 3))
    both = join([wide, narrow])
    assert len(both) == 8 and both.tokens.shape[1] == max(wide.tokens.shape[1], narrow.tokens.shape[1])
    again = both.take(torch.tensor([5, 1]))
    assert again.starts == [narrow.starts[1], wide.starts[1]]
    assert again.tokens[0, : narrow.tokens.shape[1]].tolist() == narrow.tokens[1].tolist()
    assert again.longest_token_row <= 32 < both.tokens.shape[1]


def test_an_env_that_cuts_nothing_has_one_token_row_an_episode():
    env = small_env(4, user=Talker((Feedback("ok"),)), max_turns=2)
    assert collect(env, Noted(4), 4, seed=0).starts == []


def test_who_needs_whole_rows_says_so(tmp_path):
    env = cut_env("oldest turns").unwrapped
    batch = collect(env, Noted(4), 8, seed=0)
    with pytest.raises(ValueError, match=r'TRL takes an episode as one row of tokens.*context_overflow="end"'):
        as_trl(batch)
    with pytest.raises(ValueError, match='takes tokens out of contexts: record with context_overflow="end"'):
        record(env, lambda seed: Noted(4), env.examples, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()
