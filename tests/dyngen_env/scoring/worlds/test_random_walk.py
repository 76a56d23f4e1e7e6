"""The random walks of trlX: their graph, what a walk is worth, and the env `dyngen/RandomWalk-v0`."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from dyngen_env.scoring.worlds.random_walk import EDGES, SHORTEST, STARTS, optimality
from dyngen_env.tasks import read_prompts
from dyngen_env.testing import check_reward


def test_the_graph_is_the_one_that_trlx_draws_with_its_default_seed():
    """Edges where a uniform number is above 0.9, none from a node to itself, anew until every node has one."""
    rng = np.random.RandomState(1000)
    while True:
        edges = rng.rand(21, 21) > 0.9
        np.fill_diagonal(edges, False)
        if edges.any(1).all():
            break
    edges[0] = np.arange(21) == 0  # the goal leads to itself alone
    letters = [chr(ord("a") + i) for i in range(21)]
    assert {letters[i]: "".join(letters[j] for j in np.flatnonzero(edges[i])) for i in range(21)} == EDGES


def test_the_shortest_walks_by_powers_of_the_adjacency_matrix():
    letters = list(EDGES)
    edges = np.array([[int(there in EDGES[here]) for there in letters] for here in letters])
    for start in STARTS:
        reached = [np.linalg.matrix_power(edges, steps)[letters.index(start), 0] > 0 for steps in range(10)]
        assert SHORTEST[start] == reached.index(True) + 1


@pytest.mark.parametrize(
    ("walk", "worth"),
    [
        ("da", 1.0),  # d leads to a
        ("dla", 0.0),  # l does not
        ("dlbda", 5 / 8),  # 5 nodes where 2 would do: (10 - 5) / (10 - 2)
        ("daxyz", 1.0),  # what follows the goal does not matter
        ("dlbdlbda", 2 / 8),
        ("dlbdlbdlb", 0.0),  # never arrives
        ("dlbdlbdlba", 0.0),  # b does not lead to a
        ("dlbdlbdlbda", 0.0),  # too late
        ("d", 0.0),
        ("", 0.0),
        ("d a", 0.0),
        ("é", 0.0),
    ],
)
def test_what_a_walk_is_worth(walk, worth):
    assert optimality(walk) == worth


def test_the_worth_of_random_walks():
    """Exactly, by the chain's transition matrix: the 0.35 that trlX's behaviour data have."""
    letters = list(EDGES)
    chances = np.array([[(there in EDGES[here]) / len(EDGES[here]) for there in letters] for here in letters])
    arrived = np.stack([np.linalg.matrix_power(chances, steps)[:, 0] for steps in range(10)])  # (10, 21)
    first = np.diff(arrived, axis=0)  # the probability to arrive with so many steps, that is, steps + 1 nodes
    best = np.array([SHORTEST[node] for node in letters])
    worth = sum(first[steps - 1] * (10 - (steps + 1)) / (10 - best) for steps in range(1, 10))
    assert worth[1:].mean() == pytest.approx(0.346, abs=5e-4)


def test_the_env_pays_a_walk_when_it_ends():
    env = gym.make("dyngen/RandomWalk-v0").unwrapped
    tokens = env.batch.tokenizer
    env.reset(options={"prompt": "b"})
    rewards = [env.step(token)[1] for token in tokens.encode("nda")]
    assert rewards == [0, 0, 0]
    env.reset(options={"prompt": "b"})
    for token in [*tokens.encode("da"), *tokens.end_ids]:
        _, reward, over, _, info = env.step(token)
    assert reward == 1 and over and info["finish_reason"] == "stop" and info["text"] == "da"


def test_prompts_are_the_20_other_nodes():
    assert sorted(example.prompt for example in read_prompts("random_walk", "train").examples) == list(
        "bcdefghijklmnopqrstu"
    )
    env = gym.make("dyngen/RandomWalk-v0").unwrapped
    assert env.observation_space.shape == (16,) and (env.reset(seed=0)[0] >= 0).sum() == 1


def test_the_reward_keeps_to_the_protocol():
    check_reward("walk_optimality", model="walk-lm", prompts="random_walk", max_new_tokens=9, max_context_tokens=16)
