"""Several tokens between two looks of the host give what one token at a time gives."""

import pytest
import torch

from dyngen_agents.data.playing import SeveralTokens, TokenByToken, player
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import Action
from dyngen_env.rewards import Reward
from dyngen_env.types import Example, Feedback
from tests.support.envs import Talker
from tests.support.small import small_env, small_policy


class TokensSoFar(Reward):
    """Pays at each token how many tokens the turn has; at its end it looks at the last step as well."""

    name, per_token = "so_far", True

    def __call__(self, transition):
        return (transition.spoken.length - transition.before.turn_start) * transition.live


class LastStep(Reward):
    """What a turn's last step was like: its token, how much longer the row got, how many tokens it had before."""

    name = "last_step"

    def __call__(self, transition):
        before, spoken = transition.before, transition.spoken
        filled = (before.tokens >= 0).sum(1) + 3 * (before.tokens * (before.tokens >= 0)).sum(1)
        return (transition.actions + 1000 * (spoken.length - before.length) + filled) * transition.turn_ended


SETTINGS = {
    "single turns": {},
    "banned words": dict(banned=["a", "e"]),
    "stop strings": dict(stop=["e", "th"]),
    "steps limited": dict(max_episode_steps=5),
    "reward by token": dict(reward=TokensSoFar()),
    "reward of the last step": dict(reward=LastStep()),
    "delayed": dict(reward="delayed(repetition)"),
    "context full": dict(max_new_tokens=20, max_context_tokens=24, prompts=["ab", "x"]),
    "dialogue": dict(user=Talker((Feedback("ok", 1.0), Feedback("no", -1.0), Feedback("bye", 0.0, True))), max_turns=3),
}


def play(setting, episodes, steps, seed=3, **arguments):
    env = small_env(8, **SETTINGS[setting])
    policy = small_policy(env)
    torch.nn.init.normal_(policy.value_head.weight, generator=torch.Generator().manual_seed(0))
    actor = Actor(policy, seed)
    told = []
    batch = collect(env, actor, episodes, seed=0, steps=steps, on_token=told.append, **arguments)
    return batch, actor.step, sum(told)


def assert_same(ours, theirs):
    for field in ("tokens", "completion_mask", "rewards", "groups", "bootstrap"):
        assert torch.equal(getattr(ours, field), getattr(theirs, field)), field
    for field in ("prompts", "texts", "finish_reasons", "dialogues"):
        assert list(getattr(ours, field)) == list(getattr(theirs, field)), field
    assert {k: v.tolist() for k, v in ours.reward_terms.items()} == {
        k: v.tolist() for k, v in theirs.reward_terms.items()
    }
    torch.testing.assert_close(ours.logprobs, theirs.logprobs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.values, theirs.values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 16])
@pytest.mark.parametrize("setting", SETTINGS)
def test_episodes_do_not_depend_on_how_often_the_host_looks(setting, steps):
    theirs, their_step, their_count = play(setting, 20, None)
    ours, our_step, our_count = play(setting, 20, steps)
    assert_same(ours, theirs)
    assert our_step == their_step  # so that the same actor draws the same in its next rollout
    assert our_count == their_count == int(ours.completion_mask.sum())


def test_neither_do_chosen_examples_played_in_several_parts():
    examples = [Example(f"prompt {i}") for i in range(20)]
    assert_same(*(play("single turns", 20, steps, examples=examples)[0] for steps in (5, None)))


def test_an_actor_goes_on_where_it_stopped_in_either_way():
    rollouts = []
    for steps in (None, 4):
        env = small_env(8)
        actor = Actor(small_policy(env), 3)
        rollouts.append([collect(env, actor, 12, seed=seed, steps=steps) for seed in (0, 1)])
    for ours, theirs in zip(*rollouts, strict=True):
        assert_same(ours, theirs)


def test_a_deterministic_actor():
    rollouts = []
    for steps in (None, 4):
        env = small_env(8)
        rollouts.append(collect(env, Actor(small_policy(env), 0, deterministic=True), 8, seed=0, steps=steps))
    assert_same(*rollouts)


class Scripted:
    """Row r writes r + 1 times the letter 'a' and ends."""

    def __call__(self, tokens, lengths):
        wrote = (tokens == ord("a")).sum(1)
        action = torch.where(wrote > torch.arange(len(tokens)), 257, ord("a"))
        return Action(action, -wrote.float(), lengths.float())


def test_rows_that_have_played_their_share_are_idle():
    """Rows have 2, 3, 4 and 5 tokens, END included, and the rollout takes 5 steps: 3 + 2 + 1 of 20 are idle."""
    batch = collect(small_env(4, prompts=["xyz"]), Scripted(), 4, seed=0)
    assert batch.waited == [3, 2, 1, 0]
    assert batch.idle_share == 6 / 20


def test_rows_wait_until_the_host_looks():
    """Every episode has 5 tokens, and the host looks after 3 and 6: a row waits one step, in all but its last."""
    batch, *_ = play("steps limited", 16, 3)
    assert set(batch.completion_lengths.tolist()) == {5}
    assert sum(batch.waited) == 0  # no row is given more than it may have, so the host looks after 3 and 5


def test_who_must_see_every_token_does():
    env = small_env(4)
    policy = small_policy(env)
    actor = Actor(policy, 0)

    class Other(Actor):
        def __call__(self, tokens, lengths):
            return super().__call__(tokens, lengths)

    assert isinstance(player(env, actor, 4), SeveralTokens)
    assert isinstance(player(env, actor, None), TokenByToken)  # a CPU gains nothing
    assert isinstance(player(env, Scripted(), 4), TokenByToken)
    assert isinstance(player(env, Other(policy, 0), 4), TokenByToken)
    assert isinstance(player(small_env(4, reward="normalised(repetition)"), actor, 4), TokenByToken)
    assert isinstance(player(small_env(4, reward="normalised(repetition, 0.0, 1.0)"), actor, 4), SeveralTokens)
    env.step = lambda actions: type(env).step(env, actions)
    assert isinstance(player(env, actor, 4), TokenByToken)


def test_rows_that_have_played_their_share_cost_no_forward():
    """An actor of somebody else is asked for all rows. The episodes are the same, of which some end early."""
    run = []
    for whose in (lambda actor: actor, lambda actor: lambda tokens, lengths: actor(tokens, lengths)):
        env = small_env(8, max_new_tokens=20, max_context_tokens=40, stop=list("aeiou0123"))
        policy = small_policy(env)
        batch = collect(env, whose(Actor(policy, 3)), 12, seed=0)
        run.append((batch, policy.engine.tokens_run))
    (fewer, run_of_fewer), (whole, all_run) = run
    assert_same(fewer, whole)
    assert len(set(whole.completion_lengths.tolist())) > 3
    assert run_of_fewer < 0.8 * all_run


def test_a_last_batch_of_examples_that_fills_few_rows_begins_anew():
    """Before it the actor was asked for the last rows of another batch."""
    batches = []
    for whose in (lambda actor: actor, lambda actor: lambda tokens, lengths: actor(tokens, lengths)):
        env = small_env(8, max_new_tokens=20, max_context_tokens=40, stop=list("aeiou0123"))
        examples = [Example(f"example {n}") for n in range(11)]
        batches.append(collect(env, whose(Actor(small_policy(env), 3)), 11, examples=examples, seed=0))
    assert len(set(batches[0].completion_lengths.tolist())) > 3
    assert_same(*batches)


def test_after_a_rollout_the_actor_is_asked_for_all_rows_again():
    """With seven episodes in six rows the last step asked for one row alone."""
    env = small_env(6, prompts=["ab"], stop=list("aeiou0123"))
    actor = Actor(small_policy(env), 0)
    collect(env, actor, 7, seed=0)
    tokens, _ = env.reset(seed=1)
    by_hand = Actor(actor.policy, 0)
    by_hand.step = actor.step
    lengths = (tokens >= 0).sum(1)
    assert torch.equal(actor(tokens, lengths).tokens, by_hand(tokens, lengths).tokens)
    assert len(set(by_hand(tokens, lengths).tokens.tolist())) > 1
