"""Episode seeds by tensor operations are those that NumPy's generators draw."""

import numpy as np
import pytest
import torch

from dyngen_env.envs.seed_tensors import Wide, draws, jump, jumps, uniforms, wide
from dyngen_env.envs.seeding import EpisodeSeeds, stream_uniform

CPU = torch.device("cpu")


def generators(count=50):
    return [np.random.default_rng(seed) for seed in range(count)]


def states(those):
    parts = [generator.bit_generator.state["state"] for generator in those]
    return wide([part["state"] for part in parts], CPU), wide([part["inc"] for part in parts], CPU)


def columns(numbers):
    return Wide(numbers.hi.unsqueeze(1), numbers.lo.unsqueeze(1))


def test_draws_are_those_of_numpy():
    those = generators()
    state, increment = states(those)
    expected = np.array([generator.integers(2**63, size=20, dtype=np.uint64) for generator in those])
    drawn = draws(columns(state), columns(increment), jumps(1, 20, CPU))
    np.testing.assert_array_equal(drawn.numpy().astype(np.uint64), expected)
    np.testing.assert_array_equal(uniforms(drawn, "task").numpy(), stream_uniform(expected, "task"))


@pytest.mark.parametrize("by", [0, 1, 7, 64])
def test_a_jump_leads_to_the_state_after_so_many_draws(by):
    those = generators()
    state, increment = states(those)
    for generator in those:
        generator.integers(2**63, size=by, dtype=np.uint64)
    expected, _ = states(those)
    there = jump(state, increment, jumps(by, by, CPU))
    assert there.hi.tolist() == expected.hi.tolist() and there.lo.tolist() == expected.lo.tolist()


def test_skipping_seeds_is_using_them_one_by_one():
    counts = np.array([0, 1, 15, 16, 17, 40])
    there, last = EpisodeSeeds.fresh(range(6)).skipped(counts)
    seeds, rows = EpisodeSeeds.fresh(range(6)), np.arange(6)
    expected = np.zeros(6, dtype=np.uint64)
    for step in range(40):
        now = rows[counts > step]
        expected[now] = seeds.next(now)
        seeds = seeds.after(now)
    assert last[1:].tolist() == expected[1:].tolist()
    assert there.next(rows).tolist() == seeds.next(rows).tolist()
