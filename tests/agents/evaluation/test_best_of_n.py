"""The best of n completions: by going through all choices, the bound on its KL, and where a policy stands beside it."""

from itertools import combinations

import pytest
import torch

from dyngen_agents.evaluation.best_of_n import best_of_n_kl, best_of_n_rewards, nats_of_reward, standing
from dyngen_agents.evaluation.evaluate import evaluate
from dyngen_agents.training.train import train

LINE = {n: {"reward": reward, "kl": best_of_n_kl(n)} for n, reward in ((1, 0.0), (2, 0.5), (4, 0.8))}


def test_the_expected_best_is_the_mean_over_all_choices():
    rewards = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).double()
    found = best_of_n_rewards(rewards, (1, 2, 4, 6))
    for n, value in found.items():
        choices = [rewards[:, list(c)].max(1).values for c in combinations(range(6), n)]
        assert value == pytest.approx(float(torch.stack(choices).mean()))


@pytest.mark.parametrize("n", [0, 7])
def test_more_than_all_completions_cannot_be_chosen_from(n):
    with pytest.raises(ValueError, match="expected numbers from 1 to the 6 completions"):
        best_of_n_rewards(torch.zeros(2, 6), (n,))


def test_the_bound_on_the_divergence():
    assert best_of_n_kl(1) == 0
    assert best_of_n_kl(16) == pytest.approx(1.835, abs=5e-4)  # log 16 − 15/16
    with pytest.raises(ValueError, match="n is 0"):
        best_of_n_kl(0)


def test_the_price_of_a_reward_is_read_off_the_line():
    assert nats_of_reward(LINE, -1.0) == 0
    assert nats_of_reward(LINE, 0.25) == pytest.approx(best_of_n_kl(2) / 2)
    assert nats_of_reward(LINE, 0.8) == pytest.approx(best_of_n_kl(4))
    assert nats_of_reward(LINE, 0.9) is None


def test_the_standing_says_how_far_a_policy_came_and_what_it_paid():
    said = standing(LINE, reward=0.6, kl=3.0)
    assert "75% of the way" in said and "3.00 nats" in said and "best of 4 0.800" in said
    assert standing(LINE, reward=0.9, kl=3.0).endswith("above that line")


def test_evaluation_plays_it_with_the_untrained_model(tiny_config):
    run = train(tiny_config(max_minutes=1e-9))
    line = evaluate(run, episodes=8, best_of=4)["untrained"]["best_of_n"]
    assert list(line) == [1, 2, 4]
    assert line[1]["reward"] <= line[2]["reward"] <= line[4]["reward"]
