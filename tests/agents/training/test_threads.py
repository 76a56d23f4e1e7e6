"""How many CPU threads a run uses: chosen by timing, unless somebody has chosen already."""

import pytest
import torch

from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.training import threads
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.loading.models import load_model


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def policy(tiny_model) -> CausalLMPolicy:
    lm = load_model(str(tiny_model), fresh=True)
    return CausalLMPolicy(lm, TokenDistribution())


def trial_of(times: dict[int, float], monkeypatch) -> list[int]:
    """Lets a trial find these times; the list of what it tries."""
    tried: list[int] = []

    def seconds_of_passes(policy, number):
        tried.append(number)
        return times[number]

    monkeypatch.setattr(threads, "seconds_of_passes", seconds_of_passes)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tried


@pytest.mark.parametrize("most, numbers", [(1, [1]), (2, [2, 1]), (6, [6, 3, 1]), (16, [16, 8, 4, 2, 1])])
def test_numbers_that_are_tried(most, numbers):
    assert threads.candidates(most) == numbers


@pytest.mark.parametrize(
    "times, chosen",
    [
        ({4: 1.0, 2: 1.5, 1: 2.0}, 4),
        ({4: 1.0, 2: 0.95, 1: 2.0}, 4),  # not clearly faster: a quiet machine always chooses alike
        ({4: 9.0, 2: 1.5, 1: 1.4}, 1),
        ({4: 9.0, 2: 1.4, 1: 1.5}, 2),
    ],
)
def test_the_clearly_fastest_number_is_chosen(times, chosen):
    assert threads.fastest(list(times), times.__getitem__) == chosen


def test_one_slow_moment_decides_nothing():
    """Another program that runs for a moment: the median of five rounds does not see it."""
    times = {2: iter([9.0, 1.0, 1.0, 7.0, 1.0, 1.0]), 1: iter([9.0] + [2.0] * 5)}
    assert threads.fastest([2, 1], lambda number: next(times[number])) == 2


def test_a_trial_sets_the_number_and_gives_it_back(policy, two_threads, monkeypatch):
    trial_of({2: 5.0, 1: 1.0}, monkeypatch)
    said = []
    with threads.cpu_threads(None, policy, said.append):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    assert said == ["1 of 2 CPU threads, which was faster in a trial; threads=2 would use all"]


def test_no_trial_where_the_number_is_given(policy, two_threads, monkeypatch):
    tried = trial_of({}, monkeypatch)
    with threads.cpu_threads(1, policy, print):
        assert torch.get_num_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with threads.cpu_threads(None, policy, print):
        assert torch.get_num_threads() == 2
    assert tried == []


def test_a_trial_changes_nothing_that_a_run_depends_on(policy):
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    random_state = torch.get_rng_state()
    assert threads.seconds_of_passes(policy, 1) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
