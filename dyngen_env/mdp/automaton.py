"""An automaton over tokens that finds strings in a stream of them (Aho and Corasick, 1975)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def stop_automaton(pieces: Sequence[bytes], stop: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The automaton that finds stop strings in a stream of tokens, across token borders (Aho and Corasick, 1975).

    Args:
        pieces: (V,) the bytes of each token.
        stop: what to find.

    Returns:
        next_state (S, V) int64, and hit (S, V) bool: whether a stop string ends inside that token.
        State 0 is the start; S is one more than the number of distinct prefixes of the stop strings.
    """
    goto: list[dict[int, int]] = [{}]
    accepting = [False]
    for text in stop:
        node = 0
        for byte in text:
            if byte not in goto[node]:
                goto.append({})
                accepting.append(False)
                goto[node][byte] = len(goto) - 1
            node = goto[node][byte]
        accepting[node] = True
    table = np.zeros((len(goto), 256), dtype=np.int64)  # (S, 256) over bytes
    table[0, list(goto[0])] = list(goto[0].values())
    queue, fail = list(goto[0].values()), dict.fromkeys(goto[0].values(), 0)
    for node in queue:  # breadth first: a node's failure state is complete before the node
        table[node] = table[fail[node]]
        accepting[node] = accepting[node] or accepting[fail[node]]
        for byte, child in goto[node].items():
            fail[child] = int(table[fail[node], byte])
            table[node, byte] = child
            queue.append(child)

    state = np.repeat(np.arange(len(goto))[:, None], len(pieces), axis=1)  # (S, V)
    hit = np.zeros_like(state, dtype=bool)
    if not stop:
        return state, hit
    accepts = np.array(accepting)
    by_length = np.argsort([-len(p) for p in pieces], kind="stable")
    for column in range(max(map(len, pieces), default=0)):
        here = by_length[: sum(len(p) > column for p in pieces)]  # tokens that have a byte there
        state[:, here] = table[state[:, here], np.array([pieces[i][column] for i in here])]
        hit[:, here] |= accepts[state[:, here]]
    return state, hit
