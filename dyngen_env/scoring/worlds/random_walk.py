"""A directed graph of 21 letters, walks on it as words, and how short a walk is beside the shortest one to "a".

It is the example "random walks" of trlX (Havrilla et al. 2023), after the toy problem of the Decision Transformer (Chen
et al. 2021): the graph that trlX's default seed of 1000 draws, in which every edge has probability 0.1.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

EDGES = {
    "a": "a",
    "b": "dju",
    "c": "ekor",
    "d": "alt",
    "e": "bs",
    "f": "dhim",
    "g": "cqru",
    "h": "c",
    "i": "dh",
    "j": "n",
    "k": "bgjn",
    "l": "b",
    "m": "befghs",
    "n": "ab",
    "o": "r",
    "p": "ju",
    "q": "fj",
    "r": "gjo",
    "s": "du",
    "t": "k",
    "u": "bis",
}
GOAL = "a"
STARTS = tuple(node for node in EDGES if node != GOAL)
MAX_NODES = 10


def optimality(walk: str) -> float:
    """How short a walk is, from 0 to 1: (10 - n) / (10 - n*), where n counts the nodes up to the first "a", and n*
    those of the shortest walk from the same start.

    It is 1 for a shortest walk, and 0 for one that takes an edge that does not exist before it comes to "a", that needs
    10 nodes or more, or that never comes there. What follows the "a" does not matter.

    Args:
        walk: the letters of the nodes, the start first.
    """
    to_goal, arrived, _ = walk.partition(GOAL)
    nodes = to_goal + arrived
    exists = all(there in EDGES.get(here, "") for here, there in pairwise(nodes))
    if not arrived or not exists:
        return 0.0
    return (MAX_NODES - min(len(nodes), MAX_NODES)) / (MAX_NODES - SHORTEST[nodes[0]])


def _shortest() -> dict[str, int]:
    """How many nodes the shortest walk from each node to the goal has, both ends included, by breadth-first search."""
    found, queue = {GOAL: 1}, deque([GOAL])
    while queue:
        there = queue.popleft()
        for here, ends in EDGES.items():
            if there in ends and here not in found:
                found[here] = found[there] + 1
                queue.append(here)
    return found


SHORTEST = _shortest()
