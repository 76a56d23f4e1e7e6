"""The checks for outsiders let good objects pass and say what is wrong with others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from dyngen_env import Example, Feedback
from dyngen_env.rewards import Reward, TextReward, pay_turns
from dyngen_env.tasks import read_prompts
from dyngen_env.testing import check_reward, check_task, check_user
from dyngen_env.users import Silent
from tests.support.envs import Talker


class Rater(Talker):
    """Rates by a rule."""

    def rate(self, dialogue, rng):
        return 1.0

    def reply(self, dialogues, rngs):
        return [Feedback("ok", self.rate(d, r)) for d, r in zip(dialogues, rngs, strict=True)]


class Counting(Rater):
    turns = 0

    def rate(self, dialogue, rng):
        self.turns += 1
        return self.turns


class Global(Rater):
    def rate(self, dialogue, rng):
        np.random.rand()  # noqa: NPY002
        return 1.0


class Comparing(Rater):
    def reply(self, dialogues, rngs):
        return [Feedback("ok", len(dialogues))] * len(dialogues)


class Short(Rater):
    def reply(self, dialogues, rngs):
        return super().reply(dialogues[1:], rngs[1:])


class Unrated(Rater):
    def rate(self, dialogue, rng):
        return float("nan")


@pytest.mark.parametrize("user", [Silent(), Talker(), Talker((Feedback("?"),)), Rater()])
def test_good_users_pass(user):
    check_user(user)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        (Counting(), "a user keeps nothing to itself"),
        (Global(), "the user used NumPy's global generator"),
        (Comparing(), r"alone, a dialogue was answered by .*rating=1.*in a batch by .*rating=6"),
        (Short(), "reply gave 5 answers to 6 dialogues"),
        (Unrated(), "the rating is nan"),
        (Talker((Feedback(3),)), "the text is 3"),
        (Talker((Feedback(ends="later"),)), "ends is 'later'"),
    ],
)
def test_what_is_wrong_with_a_user(user, message):
    with pytest.raises(AssertionError, match=message):
        check_user(user)


class Ranked(Reward):
    """Pays by rank in the batch, which the batch a row happens to be in decides."""

    def __call__(self, transition):
        return pay_turns(transition, range(len(transition.rows)))


@pytest.mark.parametrize("reward", ["length(3) - repetition", TextReward(len), 1.0])
def test_good_rewards_pass(reward):
    check_reward(reward)


def test_what_is_wrong_with_a_reward():
    count = itertools.count()
    with pytest.raises(AssertionError, match="a second run paid something else"):
        check_reward(lambda text: float(next(count)))
    with pytest.raises(AssertionError, match="a batch was paid"):
        check_reward(Ranked())
    with pytest.raises(ValueError, match="as a float tensor of shape"):

        class Scalar(Reward):
            def __call__(self, transition):
                return torch.tensor(1.0)

        check_reward(Scalar())


class OnTokens(Reward):
    """1 for each token; `of` makes something else of it."""

    name, on_tokens, per_token = "each", True, True

    def __init__(self, of=lambda transition, paid: paid, per_token=True):
        self.of, self.per_token = of, per_token

    def __call__(self, transition):
        return self.of(transition, transition.live.double())


def test_rewards_on_tokens():
    check_reward(OnTokens())
    check_reward(OnTokens(lambda t, paid: paid * t.turn_ended, per_token=False))
    with pytest.raises(AssertionError, match="'each': a reward with on_tokens=True reads the tensors of a transition"):
        check_reward(OnTokens(lambda t, paid: pay_turns(t, [1.0] * len(t.rows))))
    with pytest.raises(AssertionError, match="says on_tokens, but its tensors alone make it pay something else"):
        check_reward(OnTokens(per_token=False))


def test_tasks():
    class Bad:
        def sample(self, rng):
            return self.draw(rng)

    check_task(read_prompts(["A", "B"]))
    count = itertools.count()
    for draw, message in (
        (lambda rng: "A", "sample gave 'A': expected an Example"),
        (lambda rng: Example(3), "the prompt is 3: expected a str"),
        (lambda rng: Example(str(next(count))), "equal generators drew different examples"),
    ):
        task = Bad()
        task.draw = draw
        with pytest.raises(AssertionError, match=message):
            check_task(task)
