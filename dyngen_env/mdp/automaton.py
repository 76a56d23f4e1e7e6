"""Aho and Corasick's automaton (1975) over tokens: it finds strings in the text that a stream of tokens spells.

Stop strings are found wherever they appear, banned words only where they stand by themselves. What "by themselves"
means is the one parameter that tells the two apart: the bytes that words are made of.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NO_WORDS = np.zeros(256, dtype=bool)


class Automaton:
    """Finds patterns in bytes; state 0 is the start.

    Args:
        patterns: non-empty strings of bytes.
        word_bytes: (256,) bool, the bytes that words are made of. A pattern that begins (ends) with one of them is
            found only where no such byte stands before (after) it. With the default patterns are found anywhere.

    Attributes:
        table: (S, 256) int32, the state after each byte. There is a state for each distinct beginning of a pattern,
            and, if there are word bytes, state 1 for "inside a word that is no pattern".
        ends: (S,) bool, a pattern has just ended, whatever follows.
        ends_at_border: (S,) bool, a pattern has just ended, if no word byte follows.
    """

    def __init__(self, patterns: Sequence[bytes], word_bytes: np.ndarray = NO_WORDS):
        self.word_bytes = word_bytes
        bordered = bool(word_bytes.any())
        goto: list[dict[int, int]] = [{}, {}] if bordered else [{}]
        last: dict[int, bool] = {}  # the states in which a pattern ends: does it need a border?
        for pattern in patterns:
            node = 0
            for byte in pattern:
                if byte not in goto[node]:
                    goto.append({})
                    goto[node][byte] = len(goto) - 1
                node = goto[node][byte]
            last[node] = bool(word_bytes[pattern[-1]])
        self.ends, self.ends_at_border = np.zeros(len(goto), dtype=bool), np.zeros(len(goto), dtype=bool)
        for node, needs_border in last.items():
            (self.ends_at_border if needs_border else self.ends)[node] = True

        self.table = np.tile(word_bytes.astype(np.int32), (len(goto), 1))  # where no pattern goes on
        for byte, child in goto[0].items():
            self.table[0, byte] = child
            if bordered and not word_bytes[byte]:
                self.table[1, byte] = child
        queue = list(goto[0].values())
        fail = {child: int(word_bytes[byte]) for byte, child in goto[0].items()}
        for node in queue:  # breadth first: a node's failure state is complete before the node
            shorter = fail[node]
            self.table[node] = self.table[shorter]
            self.ends[node] |= self.ends[shorter]
            self.ends_at_border[node] |= self.ends_at_border[shorter]
            for byte, child in goto[node].items():
                fail[child] = int(self.table[shorter, byte])
                self.table[node, byte] = child
                queue.append(child)

    def __len__(self) -> int:
        """S."""
        return len(self.table)

    def over_tokens(self, pieces: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """What whole tokens do, from each state.

        A pattern that needs a border after it also counts as found where the token ends: nobody knows yet what
        follows. A token without bytes is a border where words matter, and leaves the state as it is where they do not.

        Args:
            pieces: (V,) the bytes of each token.

        Returns:
            following (S, V) int32: the state after the token. hit (S, V) bool: a pattern ends in it.
        """
        states = np.arange(len(self), dtype=np.int32)
        following = np.repeat(states[:, None], len(pieces), axis=1)
        hits = np.zeros(following.shape, dtype=bool)
        if len(self) == 1:
            return following, hits  # there are no patterns
        order = np.argsort([-len(piece) for piece in pieces], kind="stable")  # longest first
        ordered = [pieces[i] for i in order]
        columns = [  # byte k of the tokens that have one; these come first
            np.frombuffer(bytes([piece[k] for piece in ordered if len(piece) > k]), np.uint8)
            for k in range(len(ordered[0]) if ordered else 0)
        ]
        empty = order[len(columns[0]) if columns else 0 :]
        for first in states:  # one by one: a table over all states and bytes would not fit into memory
            state = np.full(len(pieces), first, np.int32)
            pending, hit = np.zeros(len(pieces), dtype=bool), np.zeros(len(pieces), dtype=bool)
            for column in columns:
                n = len(column)
                hit[:n] |= pending[:n] & ~self.word_bytes[column]
                state[:n] = self.table[state[:n], column]
                hit[:n] |= self.ends[state[:n]]
                pending[:n] = self.ends_at_border[state[:n]]
            following[first, order], hits[first, order] = state, hit | pending
        if self.word_bytes.any():
            following[:, empty] = 0
        return following, hits
