"""When a run's reward reaches the learner: the same sums, earlier, where that costs little."""

import pytest
import torch

from dyngen_agents.algorithms.grpo import GRPOConfig
from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.runs.config import TrainConfig, train_config_from
from dyngen_agents.runs.environment import credit_of
from dyngen_agents.runs.learner import Learner
from dyngen_env.rewards import make_reward
from dyngen_env.rewards.transforms.delay import dense_where_cheap


def paid(config, algorithm=None, **changes):
    return Learner(config(episodes=8, num_envs=8, **changes), algorithm or PPOConfig()).play()


def test_token_credit_has_the_sums_of_end_credit(tiny_config):
    tokens, ends = (paid(tiny_config, reward="sentiment - 0.1*length", credit=credit) for credit in ("token", "end"))
    assert torch.equal(tokens.tokens, ends.tokens)
    torch.testing.assert_close(tokens.episode_returns, ends.episode_returns, atol=1e-5, rtol=0)
    assert (ends.rewards != 0).sum(1).max() == 1
    assert (tokens.rewards != 0).sum(1).max() > 1
    for name, sums in ends.reward_terms.items():
        torch.testing.assert_close(tokens.reward_terms[name], sums, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "reward, algorithm, dense",
    [
        ("length", PPOConfig(), True),
        ("fluency('reviews-lm')", PPOConfig(), False),  # a model would have to read the text at every token
        ("length", PPOConfig(gamma=0.9), False),  # with a discount it would be another optimum
        ("length", GRPOConfig(group_size=4), False),  # which looks at an episode's sum alone
    ],
)
def test_auto_is_for_cheap_rewards_and_undiscounted_learners(tiny_config, reward, algorithm, dense):
    batch = paid(tiny_config, algorithm, reward=reward)
    assert bool((batch.rewards != 0).sum(1).max() > 1) == dense


def test_the_reward_of_the_registered_id_counts_too(tiny_config):
    assert (paid(tiny_config, model="reviews-lm", prompts=None, max_new_tokens=16).rewards != 0).sum(1).max() > 1


def test_on_a_gpu_auto_waits_for_the_end():
    assert credit_of(TrainConfig(), 1.0) is dense_where_cheap
    assert credit_of(TrainConfig(device="cuda"), 1.0) is None
    assert credit_of(TrainConfig(device="cuda", credit="token"), 1.0) is not None


def test_a_run_from_before_there_was_a_choice_goes_on_as_it_began():
    assert train_config_from({"updates": 3}).credit == "end"


def test_only_cheap_terms_are_moved():
    reward = make_reward("sentiment + 0.5*fluency('reviews-lm') + delayed(length, 'episode')")
    parts = dense_where_cheap(reward).terms()
    assert [part.per_token for _, part in parts] == [True, False, False]
    assert [scale for scale, _ in parts] == [1.0, 0.5, 1.0]
    assert parts[2][1].held_until == "episode"
