"""The automaton over tokens, against a search in the bytes written so far (borders: see `test_banned.py`)."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dyngen_env.mdp.automaton import Automaton

STRINGS = st.lists(st.text("abé漢", min_size=1, max_size=4), max_size=4)
LETTERS = np.array([chr(byte).isalpha() and byte < 128 for byte in range(256)])


@given(seed=st.integers(0, 2**32), stops=STRINGS)
def test_stop_strings_are_found_exactly_when_they_appear(seed, stops):
    """Pieces cut characters in the middle; the oracle searches the bytes written so far."""
    rng = np.random.default_rng(seed)
    source = "abé漢aab漢é".encode()
    cuts = [sorted(rng.integers(0, len(source) + 1, size=2)) for _ in range(12)]
    pieces = [source[a:b] for a, b in cuts]
    needles = [stop.encode() for stop in stops]
    next_state, hit = Automaton(needles).over_tokens(pieces)
    assert next_state.shape == hit.shape == (1 + len({n[:i] for n in needles for i in range(1, len(n) + 1)}), 12)
    state, written = 0, b""
    for token in rng.integers(12, size=30):
        written += pieces[token]
        found = any(needle in written for needle in needles)
        assert hit[state, token] == found
        state = next_state[state, token]
        if found:
            state, written = 0, b""


def test_a_token_without_bytes_is_a_border_only_where_words_matter():
    pieces = [b"a", b"b", b""]
    following, hit = Automaton([b"ab"]).over_tokens(pieces)
    assert following.tolist() == [[1, 0, 0], [1, 2, 1], [1, 0, 2]]
    assert hit.tolist() == [[False] * 3, [False, True, False], [False] * 3]
    following, hit = Automaton([b"ab"], LETTERS).over_tokens(pieces)
    assert following.tolist() == [[2, 1, 0], [1, 1, 0], [1, 3, 0], [1, 1, 0]]
    assert hit.tolist() == [[False] * 3, [False] * 3, [False, True, False], [False] * 3]


def test_without_patterns_nothing_is_found():
    following, hit = Automaton([]).over_tokens([b"a", b""])
    assert following.tolist() == [[0, 0]] and not hit.any()
