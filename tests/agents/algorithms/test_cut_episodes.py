"""Where a limit cuts an episode off, the critic promises no more than there is, and the policy finds what pays."""

import copy
import dataclasses
import logging

import pytest
import torch

from dyngen_agents.algorithms.ppo import PPO, PPOConfig
from dyngen_agents.data.rollout import collect
from dyngen_agents.data.shared_rollout import collect_together
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.reference import Reference
from dyngen_env.rewards import Reward
from dyngen_env.types import Feedback
from tests.support.envs import Talker
from tests.support.tiny_mdp import PaysForStopping, tiny_env, tiny_policy


class PaysForLetters(Reward):
    """A quarter for each "a", at once."""

    name, per_token = "letters", True

    def __call__(self, transition):
        return torch.where(transition.live, 0.25 * (transition.actions == 0), 0.0).double()


def ppo(policy, **settings):
    fast = dict(learning_rate=5e-3, warmup_steps=0, kl_coef=0.0, minibatch_size=32)
    return PPO(policy, Reference(copy.deepcopy(policy.lm), policy.distribution), PPOConfig(**(fast | settings)))


CONTENT = Talker((Feedback("ab", rating=4.0),))  # which pays 1
CASES = {  # a name: the env, the best return. Values that count on the last state grew to 14, 15 and 19.
    "a paid cut by the turn's budget": (
        dict(reward=PaysForStopping(1.0, 0.5), letters="abcdefghijkl", max_new_tokens=6, length_limit="truncate"),
        1.0,
    ),
    # Three tokens, then a token and an answer of four for each turn that stops at once: three times, the last unheard.
    "a paid cut by a full context": (dict(reward="rating", user=CONTENT, max_turns=9, max_context_tokens=15), 3.0),
    "an unpaid cut amid a turn": (dict(reward=PaysForLetters(), max_new_tokens=12, max_episode_steps=4), 1.0),
}


@pytest.mark.parametrize("case", CASES)
def test_values_stay_below_what_there_is_to_earn(case):
    options, best = CASES[case]
    env = tiny_env(64, **options)
    learner = ppo(tiny_policy(env))
    for update in range(25):

        def play(actor, *, group_size=1, bootstrap=None):
            return collect_together(env, actor, 64, seed=1000 * update, actor_seed=update, bootstrap=bootstrap)  # noqa: B023

        batch = learner.experience(play)
        metrics = learner.update(batch)
    assert float(batch.episode_returns.mean()) >= 0.98 * best
    assert metrics["value_mean"] <= 1.05 * best and not metrics["value_alarm"]


def test_a_critic_that_expects_more_than_was_ever_returned_is_reported_once(caplog):
    env = tiny_env(8, reward=PaysForStopping(1.0, 0.5))
    policy = tiny_policy(env)
    learner = ppo(policy)
    batch = collect(env, Actor(policy, 0), 8, seed=0)
    sound = dataclasses.replace(batch, values=1.0 * batch.completion_mask)
    wild = dataclasses.replace(batch, values=-2.0 * batch.completion_mask)
    with caplog.at_level(logging.WARNING):
        assert learner.update(sound)["value_alarm"] == 0 and not caplog.records
        assert [learner.update(wild)["value_alarm"] for _ in range(2)] == [1, 1]
    said = "expects a return of size 2 on average, but the largest that any episode had is 1"
    assert [said in record.message for record in caplog.records].count(True) == 1


def test_the_largest_return_is_that_of_the_whole_run():
    """A batch of small returns after large ones is no reason for an alarm, in a resumed run neither."""
    env = tiny_env(8, reward=PaysForStopping(1.0, 0.5))
    policy = tiny_policy(env)
    batch = collect(env, Actor(policy, 0), 8, seed=0)
    batch = dataclasses.replace(batch, values=3.0 * batch.completion_mask)
    large = dataclasses.replace(batch, rewards=4 * batch.rewards)
    first, resumed = ppo(policy), ppo(policy)
    assert first.update(large)["value_alarm"] == 0 and first.update(batch)["value_alarm"] == 0
    resumed.load_state(first.state())
    assert resumed.update(batch)["value_alarm"] == 0
    assert ppo(policy).update(batch)["value_alarm"] == 1
