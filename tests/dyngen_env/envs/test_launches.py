"""What a step of the env asks of a GPU, counted on a simulated one: kernel launches, host reads, transfers."""

import numpy as np
import pytest
import torch

from tests.support.envs import batch, random_actions
from tests.support.simulated_cuda import needs_compiler, put, simulated

pytestmark = needs_compiler
SETTINGS = dict(prompts=["a", "bb", "ccc"], max_new_tokens=6, max_context_tokens=16, output="torch")


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_trajectories_on_a_gpu_are_those_on_a_cpu(mode):
    settings = dict(SETTINGS, reward="length", autoreset_mode=mode)
    rng = np.random.default_rng(0)
    actions = [torch.from_numpy(random_actions(rng, 8)) for _ in range(24)]

    def play(place):
        env = batch(8, **settings, device="cpu" if place is torch.clone else "cuda:0")
        seen = [env.reset(seed=3)[0], *(x for a in actions for x in env.step(place(a))[:4])]
        return [x.tolist() for x in seen]

    here = play(torch.clone)
    with simulated():
        assert play(put) == here


def test_a_step_in_which_nothing_ends_reads_once():
    with simulated() as counts:
        env = batch(8, **SETTINGS, reward=1.0, autoreset_mode="same_step", device="cuda:0")
        env.reset(seed=0)
        actions = put(torch.full((8,), 65))
        counts.reset()
        env.step(actions)
        assert len(counts.reads) == 1 and not counts.transfers and counts.launches <= 25
