"""The token dynamics against a slow oracle that keeps one row at a time in lists."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dyngen_env import mdp
from dyngen_env.mdp.rules import token_rules
from dyngen_env.mdp.state import ALWAYS, CONTEXT, FINISH_REASONS, ILLEGAL, LENGTH, LIVE, STOP, TURNS, USER, TokenState
from dyngen_env.text.tokenizer import ByteTokenizer

TOKENS = ByteTokenizer()
STOPS = ("ab", "bca", "é")


@dataclass
class Row:
    """One row as it is written in DESIGN.md, section 4."""

    tokens: list[int]
    chosen: list[bool]
    budget: int
    turn: list[int] = field(default_factory=list)
    finish: int = LIVE

    def append(self, token: int, width: int, stops: tuple[str, ...]) -> None:
        if self.finish != LIVE:
            return
        self.tokens.append(token)
        self.chosen.append(True)
        self.turn.append(token)
        said = b"".join(TOKENS.token_bytes[t] for t in self.turn)
        if token in TOKENS.control_ids - TOKENS.end_ids:
            self.finish = ILLEGAL
        elif token in TOKENS.end_ids or any(stop.encode() in said for stop in stops):
            self.finish = STOP
        elif len(self.turn) == self.budget:
            self.finish = LENGTH
        elif len(self.tokens) == width:
            self.finish = CONTEXT

    def hear(self, words: list[int], finish: int, width: int) -> None:
        self.finish = finish
        if finish == LIVE and len(self.tokens) + len(words) >= width:
            self.finish = CONTEXT
        elif finish == LIVE:
            self.tokens += words
            self.chosen += [False] * len(words)
            self.turn = []


def padded(rows: list[list[int]], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    table = [row + [-1] * (width - len(row)) for row in rows]
    return torch.tensor(table), torch.tensor([len(row) for row in rows])


def assert_equal(state: TokenState, rows: list[Row]) -> None:
    width = state.tokens.shape[1]
    tokens, lengths = padded([row.tokens for row in rows], width)
    assert torch.equal(state.tokens, tokens)
    assert torch.equal(state.length, lengths)
    mask = [row.chosen + [False] * (width - len(row.chosen)) for row in rows]
    assert torch.equal(state.completion_mask, torch.tensor(mask))
    assert state.finish.tolist() == [row.finish for row in rows]
    assert state.live.tolist() == [row.finish == LIVE for row in rows]
    assert (state.length - state.turn_start).tolist() == [len(row.turn) for row in rows]


def test_forgetting_moves_what_follows():
    state = mdp.initial(*padded([[1, 2, 3, 4, 5, 6], [1, 2, 3], [7, 8, 9, 10]], 8))
    state = replace(state, turn_start=torch.tensor([5, 3, 4]), earlier=state.tokens % 2 == 0)
    unwritten = cloned(state)
    after = mdp.forget(state, torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([3, 0]))
    assert after.tokens.tolist() == [[1, 5, 6, -1, -1, -1, -1, -1], [1, 2, 3] + [-1] * 5, [7, 8, 9, 10] + [-1] * 4]
    assert after.earlier[0].nonzero().flatten().tolist() == [2] and torch.equal(after.earlier[1:], state.earlier[1:])
    assert after.length.tolist() == [3, 3, 4] and after.turn_start.tolist() == [2, 3, 4]
    assert_unwritten(state, unwritten)


def cloned(state: TokenState) -> dict[str, torch.Tensor]:
    return {name: getattr(state, name).clone() for name in ALWAYS}


def assert_unwritten(state: TokenState, before: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(getattr(state, name), value) for name, value in before.items())


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 5),
    width=st.integers(2, 20),
    budget=st.integers(1, 6),
    stops=st.sampled_from([(), STOPS[:1], STOPS]),
    own=st.booleans(),
)
def test_random_histories_are_those_of_the_oracle(seed, rows, width, budget, stops, own):
    """With budgets of the rows' own (`own`), and with one for all."""
    rng = np.random.default_rng(seed)
    rules, _ = token_rules(TOKENS, stops, budget, torch.device("cpu"))
    prompt = lambda: rng.integers(97, 100, size=rng.integers(1, width)).tolist()  # noqa: E731

    def begun(prompts: list[list[int]]) -> tuple[list[Row], torch.Tensor | None]:
        budgets = rng.integers(1, budget + 1, size=len(prompts)) if own else np.full(len(prompts), budget)
        new = [Row([*p], [False] * len(p), most) for p, most in zip(prompts, budgets.tolist(), strict=True)]
        return new, torch.from_numpy(budgets) if own else None

    oracle, budgets = begun([prompt() for _ in range(rows)])
    state = mdp.initial(*padded([row.tokens for row in oracle], width), budgets)
    alphabet = [97, 97, 98, 98, 99, 0xC3, 0xA9, 0, 255, 256, 257, 258, 259]
    for _ in range(25):
        unwritten, earlier = cloned(state), state
        move = rng.random()
        if move < 0.7:
            weights = np.array([4] * 7 + [1] * 6) / 34
            actions = rng.choice(alphabet, size=len(oracle), p=weights)
            state = mdp.append(state, torch.from_numpy(actions), rules)
            for row, action in zip(oracle, actions.tolist(), strict=True):
                row.append(action, width, stops)
        elif move < 0.85:
            asked = [i for i, row in enumerate(oracle) if row.finish in (STOP, LENGTH)]
            if not asked:
                continue
            words = [rng.integers(97, 100, size=rng.integers(0, 5)).tolist() for _ in asked]
            ends = [int(rng.choice([LIVE, LIVE, LIVE, TURNS, USER])) for _ in asked]
            table, counts = padded(words, 5)
            state = mdp.hear(state, torch.tensor(asked), table, counts, torch.tensor(ends))
            for i, said, end in zip(asked, words, ends, strict=True):
                oracle[i].hear(said, end, width)
        elif move < 0.95:
            chosen = np.flatnonzero(rng.random(len(oracle)) < 0.5).tolist()
            if not chosen:
                continue
            prompts = [prompt() for _ in chosen]
            new, budgets = begun(prompts)
            state = mdp.restart(state, torch.tensor(chosen), *padded(prompts, width), budgets)
            for i, row in zip(chosen, new, strict=True):
                oracle[i] = row
        else:
            picked = rng.integers(len(oracle), size=rng.integers(1, 5)).tolist()
            state = mdp.fork(state, torch.tensor(picked))
            oracle = [Row([*o.tokens], [*o.chosen], o.budget, [*o.turn], o.finish) for o in (oracle[i] for i in picked)]
        assert_unwritten(earlier, unwritten)
        assert_equal(state, oracle)


def test_ended_rows_absorb():
    rules, _ = token_rules(TOKENS, ("ab",), 4, torch.device("cpu"))
    state = mdp.initial(*padded([[97], [97, 98], [97]], 5))
    for tokens in ([257, 98, 256], [120, 120, 120], [120, 120, 120]):
        state = mdp.append(state, torch.tensor(tokens), rules)
    assert [FINISH_REASONS[i] for i in state.finish] == ["stop", "context", "illegal"]
    again = mdp.append(state, torch.tensor([1, 256, 257]), rules)
    same = [name for name in ALWAYS if name != "stop_state"]
    assert all(torch.equal(getattr(again, name), getattr(state, name)) for name in same)


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ([97, 97, 256], "illegal"),  # illegal before all
        ([97, 97, 257], "stop"),  # an end token in the last place is an end, not a used-up budget
        ([97, 97, 98], "stop"),  # so is a stop string
        ([97, 97, 97], "length"),  # and a used-up budget goes before a full context
    ],
)
def test_precedence_of_reasons(tokens, reason):
    rules, _ = token_rules(TOKENS, ("ab",), 3, torch.device("cpu"))
    state = mdp.initial(*padded([[97]], 4))
    for token in tokens:
        state = mdp.append(state, torch.tensor([token]), rules)
    assert FINISH_REASONS[int(state.finish)] == reason


def test_a_stop_string_does_not_reach_back_into_the_prompt_or_an_earlier_turn():
    rules, _ = token_rules(TOKENS, ("ab",), 3, torch.device("cpu"))
    state = mdp.append(mdp.initial(*padded([[97]], 9)), torch.tensor([98]), rules)
    assert int(state.finish) == LIVE
    state = mdp.append(mdp.append(state, torch.tensor([99]), rules), torch.tensor([97]), rules)
    state = mdp.hear(state, torch.tensor([0]), torch.tensor([[120]]), torch.tensor([1]), torch.tensor([LIVE]))
    state = mdp.append(state, torch.tensor([98]), rules)
    assert int(state.finish) == LIVE and state.tokens[0, :6].tolist() == [97, 98, 99, 97, 120, 98]
