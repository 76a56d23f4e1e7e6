"""Monte-Carlo values by forks of the env: unbiased, at the states that were asked for, at no cost to the choices."""

import math

import pytest
import torch

from dyngen_agents.data.branching_actor import BranchingActor, BranchPoints, word_borders
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_env import mdp
from dyngen_env.rewards import Reward
from dyngen_env.text.tokenizer import ByteTokenizer
from dyngen_env.types import Feedback
from tests.support.envs import Talker
from tests.support.tiny_mdp import all_episodes, tiny_env, tiny_policy

EVERY_TOKEN = BranchPoints("tokens", 1)
DIALOGUE = dict(max_new_tokens=1, max_turns=2, user=Talker((Feedback("b"), Feedback("a"))))


def taste(text: str) -> float:
    """Another number for every text."""
    return (sum((i + 2) * ord(letter) for i, letter in enumerate(text)) % 7) / 7


def returns(branches):
    return branches.episode_returns


@pytest.mark.parametrize("options", [dict(max_new_tokens=2), DIALOGUE], ids=["one turn", "a user who answers"])
def test_values_are_within_four_standard_errors_of_the_exact_ones(options):
    """Exact: over all episodes that begin like that, by their probability, what they earn from there on."""
    env, count = tiny_env(256, reward=taste, **options), 4
    policy, episodes = tiny_policy(env), all_episodes(reward=taste, **options)
    with torch.no_grad():
        logprobs = policy.evaluate(episodes.tokens, episodes.completion_mask).logprobs
    batch = collect(env, BranchingActor(Actor(policy, 0), env, count, EVERY_TOKEN, returns), 256, seed=0)
    found = {}  # the estimates of each state, and what had been paid before
    for row, p in batch.completion_mask.nonzero().tolist():
        values, _ = found.setdefault(tuple(batch.tokens[row, :p].tolist()), ([], float(batch.rewards[row, :p].sum())))
        values.append(float(batch.values[row, p]))
    errors = []
    for state, (values, paid) in found.items():
        same = (episodes.tokens[:, : len(state)] == torch.tensor(state)).all(1)
        weights = logprobs[same, len(state) :].sum(1).double().softmax(0)
        left = episodes.returns[same] - paid
        exact = float(weights @ left)
        errors.append(math.sqrt(float(weights @ (left - exact) ** 2) / (count * len(values))))
        assert abs(sum(values) / len(values) - exact) <= 4 * errors[-1] + 1e-6
    assert len(errors) >= 3 and 0.001 < max(errors) < 0.05


def test_the_choices_are_those_of_the_actor_alone_and_the_rest_has_no_value():
    env = tiny_env(8, reward=taste)
    policy = tiny_policy(env)
    plain = collect(env, Actor(policy, 3), 8, seed=0)
    actor = BranchingActor(Actor(policy, 3), env, 2, BranchPoints("tokens", 2), returns)
    forked = collect(env, actor, 8, seed=0)
    assert torch.equal(plain.tokens, forked.tokens)
    torch.testing.assert_close(plain.logprobs, forked.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(plain.rewards, forked.rewards)
    written = forked.completion_mask.cumsum(1) - 1
    expected = forked.completion_mask & (written % 2 == 0)
    assert torch.equal(forked.completion_mask & ~forked.values.isnan(), expected)
    # From the first and the third token on at most four and two are left, in each of two branches.
    assert int(expected.sum()) * 2 <= actor.tokens <= 8 * 2 * (4 + 2)


def test_rows_that_have_played_their_share_are_not_forked():
    env = tiny_env(4, reward=taste)
    actor = BranchingActor(Actor(tiny_policy(env), 3), env, 1, EVERY_TOKEN, returns)
    forked = []
    actor.values = lambda rows: forked.extend(rows.tolist()) or torch.zeros(len(rows))
    batch = collect(env, actor, 4, seed=0)
    assert len(forked) == int(batch.completion_mask.sum())


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (BranchPoints("tokens", 3), [0, 3, 6]),
        (BranchPoints("words", 1), [0, 3, 6]),  # after "ab " and after "cd "
        (BranchPoints("words", 2), [0, 6]),
        (BranchPoints("turns", 1), [0]),
    ],
    ids=lambda value: f"{value.unit} {value.every}" if isinstance(value, BranchPoints) else "",
)
def test_states_are_chosen_by_what_stands_in_them(points, expected):
    """The prompt has a space that does not count. In "ab cd e" the states have 0 to 7 bytes written."""
    tokenizer = ByteTokenizer()
    env = tiny_env(1, tokenizer=tokenizer, prompts=["x y"], max_new_tokens=9, max_context_tokens=32, reward=taste)
    env.reset(seed=0)
    state, found = env.state, []
    for written, letter in enumerate("ab cd e"):
        if points.at(state, word_borders(tokenizer)):
            found.append(written)
        state = mdp.append(state, torch.tensor([ord(letter)]), env.rules)
    assert found == expected


class Asks(Reward):
    """Would ask people."""

    name, asks_people = "asks", True

    def __call__(self, transition):
        raise AssertionError


def test_people_are_not_asked_about_branches():
    env = tiny_env(2, reward=Asks())
    with pytest.raises(ValueError, match=r"people would be asked about every branch .*: train ppo"):
        BranchingActor(Actor(tiny_policy(env), 0), env, 2, EVERY_TOKEN, returns)
